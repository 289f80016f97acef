//! What can be seen of an SQL text without a database: its statements, and its parameters.

use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

/// Whose SQL a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Postgres => "Postgres",
            Dialect::Sqlite => "SQLite",
        })
    }
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The first word of each statement, in capitals.
    pub(crate) begins: Vec<String>,
    /// The highest number of a parameter.
    pub(crate) parameters: usize,
    /// A parameter that is not numbered.
    pub(crate) unnumbered: Option<String>,
}

/// What a statement may begin with. All else (COMMIT, SET, PRAGMA …) would reach beyond it.
const STATEMENTS: &[&str] =
    &["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "WITH", "SELECT", "CALL"];

/// What would end the transaction that a script runs in, or change the connection behind it.
const NOT_IN_SCRIPTS: &[&str] = &[
    "BEGIN",
    "START",
    "COMMIT",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "PREPARE",
    "PRAGMA",
    "ATTACH",
    "DETACH",
    "VACUUM",
];

/// Whether a text is one statement that may be carried out within a commit.
pub(crate) fn check_statement(text: &str, dialect: Dialect) -> Result<(), String> {
    let read = read(text, dialect);
    match read.begins.as_slice() {
        [] => return Err("its text is empty".to_owned()),
        [only] if STATEMENTS.contains(&only.as_str()) => {}
        [only] => {
            let may = STATEMENTS.join(", ");
            return Err(format!("it begins with {only}, but may begin with {may}"));
        }
        more => return Err(format!("it is {} statements, but may be one", more.len())),
    }
    match (read.unnumbered, dialect) {
        (None, _) => Ok(()),
        (Some(odd), _) => Err(format!("its parameter {odd} has no number: write ?1, ?2 …")),
    }
}

/// Whether a text may be a migration.
pub(crate) fn check_script(text: &str, dialect: Dialect) -> Result<(), String> {
    let read = read(text, dialect);
    if read.begins.is_empty() {
        return Err("its text is empty".to_owned());
    }
    if let Some(bad) = read.begins.iter().find(|word| NOT_IN_SCRIPTS.contains(&word.as_str())) {
        return Err(format!("{bad} cannot be part of the transaction that migrations share"));
    }
    if read.parameters > 0 || read.unnumbered.is_some() {
        return Err("it has parameters, which a migration is not given".to_owned());
    }
    Ok(())
}

/// Reads a text: comments and quoted parts are passed over.
pub(crate) fn read(text: &str, dialect: Dialect) -> Read {
    let mut reader = Reader { text, at: text.char_indices().peekable(), dialect };
    let mut read = Read::default();
    let mut fresh = true;
    while let Some((start, c)) = reader.at.next() {
        if c.is_whitespace() || reader.passes_comment(c) {
            continue;
        }
        if c == ';' {
            fresh = true;
            continue;
        }
        let word = if c.is_alphabetic() || c == '_' { reader.word(start) } else { "" };
        if std::mem::take(&mut fresh) {
            let begin = if word.is_empty() { c.to_string() } else { word.to_uppercase() };
            read.begins.push(begin);
        }
        // E'..' knows backslashes; the letter stands right before the quote.
        let escapes = dialect == Dialect::Postgres && word.eq_ignore_ascii_case("e");
        match c {
            _ if escapes && reader.next_is('\'') => {
                reader.at.next();
                reader.quoted('\'', true);
            }
            '\'' | '"' => reader.quoted(c, false),
            '`' if dialect == Dialect::Sqlite => reader.quoted(c, false),
            '[' if dialect == Dialect::Sqlite => reader.until("]"),
            '$' if dialect == Dialect::Postgres => reader.dollar(start, &mut read),
            '?' | '$' | ':' | '@' if dialect == Dialect::Sqlite => {
                reader.sqlite_parameter(start, c, &mut read);
            }
            _ => {}
        }
    }
    read
}

struct Reader<'t> {
    text: &'t str,
    at: Peekable<CharIndices<'t>>,
    dialect: Dialect,
}

impl<'t> Reader<'t> {
    fn next_is(&mut self, wanted: char) -> bool {
        self.at.peek().is_some_and(|(_, c)| *c == wanted)
    }

    /// Where the next character stands.
    fn here(&mut self) -> usize {
        self.at.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    /// The word that began at `start`; its first character is taken already.
    fn word(&mut self, start: usize) -> &'t str {
        let belongs = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        while self.at.next_if(|(_, c)| belongs(*c)).is_some() {}
        let end = self.here();
        &self.text[start..end]
    }

    /// Passes over a comment that `c` begins.
    fn passes_comment(&mut self, c: char) -> bool {
        if c == '-' && self.next_is('-') {
            while self.at.next().is_some_and(|(_, c)| c != '\n') {}
            return true;
        }
        if c != '/' || !self.next_is('*') {
            return false;
        }
        self.at.next();
        let mut depth = 1;
        while depth > 0 {
            match self.at.next() {
                None => break,
                Some((_, '*')) if self.next_is('/') => {
                    self.at.next();
                    depth -= 1;
                }
                // Postgres lets comments stand in comments.
                Some((_, '/')) if self.dialect == Dialect::Postgres && self.next_is('*') => {
                    self.at.next();
                    depth += 1;
                }
                Some(_) => {}
            }
        }
        true
    }

    /// Passes to the closing quote; a doubled one stands for itself.
    fn quoted(&mut self, quote: char, escapes: bool) {
        while let Some((_, c)) = self.at.next() {
            if escapes && c == '\\' {
                self.at.next();
            } else if c == quote && self.at.next_if(|(_, next)| *next == quote).is_none() {
                return;
            }
        }
    }

    /// Passes over everything up to and with `end`.
    fn until(&mut self, end: &str) {
        let from = self.here();
        let to = self.text[from..].find(end).map_or(self.text.len(), |at| from + at + end.len());
        while self.at.next_if(|(at, _)| *at < to).is_some() {}
    }

    /// `$1` is a parameter, `$$` and `$tag$` begin a quoted part.
    fn dollar(&mut self, start: usize, read: &mut Read) {
        if let Some(number) = self.number() {
            read.parameters = read.parameters.max(number);
            return;
        }
        while self.at.next_if(|(_, c)| c.is_alphanumeric() || *c == '_').is_some() {}
        if self.at.next_if(|(_, c)| *c == '$').is_some() {
            let end = self.here();
            let tag = &self.text[start..end];
            self.until(tag);
        }
    }

    fn sqlite_parameter(&mut self, start: usize, c: char, read: &mut Read) {
        let number = if c == '?' { self.number() } else { None };
        match number {
            Some(number) => read.parameters = read.parameters.max(number),
            None => {
                let odd = self.word(start);
                if c == '?' || odd.len() > 1 {
                    read.unnumbered.get_or_insert_with(|| odd.to_owned());
                }
            }
        }
    }

    fn number(&mut self) -> Option<usize> {
        let from = self.here();
        while self.at.next_if(|(_, c)| c.is_ascii_digit()).is_some() {}
        let to = self.here();
        self.text[from..to].parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(text: &str, dialect: Dialect) -> Vec<String> {
        read(text, dialect).begins
    }

    #[test]
    fn a_semicolon_counts_only_outside_of_quotes_and_comments() {
        use Dialect::{Postgres, Sqlite};
        for (dialect, text, count) in [
            (Postgres, "INSERT INTO a VALUES (';', $1) ; ", 1),
            (Postgres, "INSERT INTO \"a;b\" SELECT $$ ; $$, $t$ $$ ; $t$", 1),
            (Postgres, r"SELECT E'it\'s; fine', 'a\'; COMMIT", 2),
            (Postgres, "/* ; /* ; */ ; */ DELETE FROM a -- ; b\n; UPDATE a SET b = 1", 2),
            (Sqlite, "DELETE FROM [a;b] WHERE `c;d` = 'x''; y'", 1),
            (Sqlite, "DELETE FROM a; COMMIT;", 2),
            (Postgres, " -- nothing\n ; ", 0),
        ] {
            assert_eq!(begins(text, dialect).len(), count, "{text}");
        }
        assert_eq!(begins("delete from a; commit", Sqlite), ["DELETE", "COMMIT"]);
        assert_eq!(begins("(SELECT 1)", Postgres), ["("]);
    }

    #[test]
    fn parameters_are_counted_by_their_highest_number() {
        for (dialect, text, count) in [
            (Dialect::Postgres, "SELECT $2, $1::uuid, '$9', a$3 FROM b", 2),
            (Dialect::Postgres, "SELECT data ? 'key', $1::jsonb @> data", 1),
            (Dialect::Sqlite, "SELECT ?12, '?99' -- ?80", 12),
            (Dialect::Sqlite, "SELECT 1", 0),
        ] {
            let read = read(text, dialect);
            assert_eq!((read.parameters, read.unnumbered), (count, None), "{text}");
        }
        for odd in ["?", ":name", "@name", "$name"] {
            let text = format!("DELETE FROM a WHERE b = {odd}");
            assert_eq!(read(&text, Dialect::Sqlite).unnumbered.as_deref(), Some(odd));
        }
    }

    #[test]
    fn nothing_that_reaches_beyond_a_statement_is_one() {
        for text in ["", "COMMIT", "SET x = 1", "PRAGMA a", "DELETE FROM a; DELETE FROM b", "-- a"]
        {
            assert!(check_statement(text, Dialect::Sqlite).is_err(), "{text}");
            assert!(check_statement(text, Dialect::Postgres).is_err(), "{text}");
        }
        let good = "WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a;";
        assert_eq!(check_statement(good, Dialect::Sqlite), Ok(()));
        let trigger = "CREATE TABLE a (b); CREATE TRIGGER c AFTER INSERT ON a BEGIN \
                       DELETE FROM a; UPDATE a SET b = 1; END;";
        assert_eq!(check_script(trigger, Dialect::Sqlite), Ok(()));
        for bad in ["CREATE TABLE a (b int); COMMIT", "BEGIN", "", "DELETE FROM a WHERE b = ?1"] {
            assert!(check_script(bad, Dialect::Sqlite).is_err(), "{bad}");
        }
    }
}
