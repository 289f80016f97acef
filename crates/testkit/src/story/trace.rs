//! What happened in a story, in order: its steps, and every decision that they led to.

use knarr_model::MessageId;
use parking_lot::Mutex;

/// The lines of a story.
#[derive(Default)]
pub(super) struct Trace(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    lines: Vec<Line>,
    faults: Vec<String>,
}

struct Line {
    /// The message or row that was decided; none for a step of the story.
    cause: Option<MessageId>,
    text: String,
}

impl Trace {
    /// A step of the story begins.
    pub(super) fn step(&self, text: &str) {
        self.0.lock().lines.push(Line { cause: None, text: text.to_owned() });
    }

    /// Something was decided. Decided again, the later decision counts.
    pub(super) fn decided(&self, cause: MessageId, text: String) {
        let mut inside = self.0.lock();
        let known = inside.lines.iter_mut().find(|line| line.cause == Some(cause));
        match known {
            Some(line) => line.text = text,
            None => inside.lines.push(Line { cause: Some(cause), text }),
        }
    }

    /// Something that no saga may do.
    pub(super) fn fault(&self, text: String) {
        let mut inside = self.0.lock();
        if !inside.faults.contains(&text) {
            inside.faults.push(text);
        }
    }

    /// The first fault, if there is one.
    pub(super) fn first_fault(&self) -> Option<String> {
        self.0.lock().faults.first().cloned()
    }

    /// Everything so far, one entry a step or decision.
    pub(super) fn lines(&self) -> Vec<String> {
        let indent = |line: &Line| match line.cause {
            None => line.text.clone(),
            Some(_) => format!("     {}", line.text),
        };
        self.0.lock().lines.iter().map(indent).collect()
    }
}
