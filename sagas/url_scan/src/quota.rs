//! A quota as people write it: `4/min,500/day`, or `unlimited`.

use std::time::Duration;

use knarr_saga::Quota;

/// The windows by their names, shortest first.
const WINDOWS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("day", 86_400)];

/// Reads a quota; `unlimited` is none at all.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse_quotas(text: &str) -> Result<Vec<Quota>, String> {
    if text.trim() == "unlimited" {
        return Ok(Vec::new());
    }
    text.split(',').map(|part| parse(part.trim())).collect()
}

fn parse(part: &str) -> Result<Quota, String> {
    let example = "write for example `4/min,500/day`, or `unlimited`";
    let Some((limit, window)) = part.split_once('/') else {
        return Err(format!("`{part}` is no quota: {example}"));
    };
    let Some((_, seconds)) = WINDOWS.iter().find(|(name, _)| *name == window.trim()) else {
        return Err(format!("`{window}` is no window (s, min, h, day): {example}"));
    };
    match limit.trim().parse() {
        Ok(limit) if limit > 0 => Ok(Quota { limit, window: Duration::from_secs(*seconds) }),
        _ => Err(format!("`{limit}` is no number of requests above zero: {example}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_and_everything_else_is_refused() {
        let quota = |limit, seconds| Quota { limit, window: Duration::from_secs(seconds) };
        assert_eq!(parse_quotas("4/min,500/day"), Ok(vec![quota(4, 60), quota(500, 86_400)]));
        assert_eq!(parse_quotas(" 1/s , 2/h "), Ok(vec![quota(1, 1), quota(2, 3_600)]));
        assert_eq!(parse_quotas("unlimited"), Ok(Vec::new()));
        for (text, why) in [
            ("", "no quota"),
            ("4", "no quota"),
            ("4/min,", "no quota"),
            ("4/minute", "no window"),
            ("0/min", "above zero"),
            ("-1/min", "above zero"),
            ("four/min", "above zero"),
        ] {
            assert!(parse_quotas(text).is_err_and(|said| said.contains(why)), "{text}");
        }
    }
}
