//! Whether settings can be used, told before anything is connected.

use crate::error::Error;
use crate::pools::connect_options;
use crate::schema::Schema;
use crate::settings::Settings;

impl Settings {
    /// Whether URL and schema can be used, asked before anything is connected.
    ///
    /// # Errors
    /// [`Error::Url`] or [`Error::SchemaName`].
    pub fn check(&self) -> Result<(), Error> {
        Schema::new(&self.schema)?;
        connect_options(self).map(drop)
    }
}
