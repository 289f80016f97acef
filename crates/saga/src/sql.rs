//! What a machine declares of its own tables: statements, purge steps, migrations.

use knarr_model::statement::{Dialects, Script, Statement};
use knarr_model::{InstanceId, Name};
use serde_json::json;

use crate::sql_text::{self, Dialect};

/// SQL under its names, in declared order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sql {
    pub(crate) statements: Vec<Named>,
    pub(crate) purge_steps: Vec<Named>,
    pub(crate) migrations: Vec<Named>,
}

/// A text under its name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) text: Dialects,
}

impl Named {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<Dialects>) -> Named {
        Named { name: name.into(), text: text.into() }
    }

    /// How many parameters it takes: a text may leave the last ones unused.
    pub(crate) fn parameters(&self) -> usize {
        let of = |text: &str, dialect| sql_text::read(text, dialect).parameters;
        let postgres = of(&self.text.postgres, Dialect::Postgres);
        postgres.max(of(&self.text.sqlite, Dialect::Sqlite))
    }
}

impl Sql {
    /// The purge steps of one run.
    pub(crate) fn purge_steps(&self, instance: InstanceId, run: u32) -> Vec<Statement> {
        let statement = |step: &Named| {
            let mut parameters = vec![json!(instance.0), json!(run)];
            parameters.truncate(step.parameters());
            Statement { name: step.name.clone(), text: step.text.clone(), parameters }
        };
        self.purge_steps.iter().map(statement).collect()
    }

    /// The migrations of a saga.
    pub(crate) fn migrations(&self, saga: &Name) -> Vec<Script> {
        let script = |one: &Named| Script {
            saga: saga.clone(),
            name: one.name.clone(),
            text: one.text.clone(),
        };
        self.migrations.iter().map(script).collect()
    }

    /// Fills in the text of a statement that a behaviour has asked for.
    pub(crate) fn complete(&self, asked: &mut Statement) -> Result<(), String> {
        let name = &asked.name;
        let Some(known) = self.statements.iter().find(|known| known.name == *name) else {
            return Err(format!(
                "statement `{name}` was asked for, but the table does not know it: add \
                 m.statement(\"{name}\", (postgres, sqlite))"
            ));
        };
        let (takes, given) = (known.parameters(), asked.parameters.len());
        if takes != given {
            return Err(format!("statement `{name}` takes {takes} parameters, {given} were given"));
        }
        asked.text = known.text.clone();
        Ok(())
    }

    /// What is wrong with the texts: the kind of thing, its name, and why.
    pub(crate) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let kinds = [
            ("statement", &self.statements, sql_text::check_statement as Check),
            ("purge step", &self.purge_steps, sql_text::check_statement),
            ("migration", &self.migrations, sql_text::check_script),
        ];
        for (kind, all, check) in kinds {
            for (at, one) in all.iter().enumerate() {
                let name = &one.name;
                if name.trim().is_empty() {
                    found.push(("bad-sql", format!("a {kind} has no name")));
                }
                if all[..at].iter().any(|before| before.name == *name) {
                    found.push(("duplicate-sql", format!("two {kind}s are called `{name}`")));
                }
                for (dialect, text) in
                    [(Dialect::Postgres, &one.text.postgres), (Dialect::Sqlite, &one.text.sqlite)]
                {
                    if let Err(why) = check(text, dialect) {
                        let text = format!("{kind} `{name}` for {dialect}: {why}");
                        found.push(("bad-sql", text));
                    }
                }
            }
        }
        for step in self.purge_steps.iter().filter(|step| step.parameters() > 2) {
            let text = format!(
                "purge step `{}` takes more parameters than the instance's id and the run",
                step.name
            );
            found.push(("bad-sql", text));
        }
        found
    }
}

type Check = fn(&str, Dialect) -> Result<(), String>;
