//! Scans a submitted URL with VirusTotal and Safe Browsing.
