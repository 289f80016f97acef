//! What the broker sends, made fit for its client before that sees it.
//!
//! The client ends the connection at a name that is no UTF-8, and follows tables in tables until its
//! stack is used up. The broker takes both from anybody and delivers them again and again: one such
//! message would hold up its queue for ever. Here bytes that are no text become `?`, and what is
//! nested too deep is called raw bytes. No length ever changes.

/// The largest frame that is looked at; nobody negotiates a larger one.
const MOST: usize = 16 << 20;
/// Levels of lists and tables that the client is shown: more than are kept of a message.
const LEVELS: usize = 2 * knarr_model::headers::MAX_DEPTH;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Where washing stands in a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct Wash {
    /// Bytes of the present frame that pass as they are.
    through: usize,
    /// It is no AMQP that we know: everything passes as it is.
    blind: bool,
}

impl Wash {
    /// Washes what has come, of which the first `clean` bytes are washed already; returns how many
    /// are now. The others wait for the rest of their frame.
    pub(crate) fn advance(&mut self, bytes: &mut [u8], mut clean: usize) -> usize {
        const HEAD: usize = 7;
        loop {
            let rest = bytes.len() - clean;
            if self.blind {
                return bytes.len();
            }
            if self.through > 0 {
                let now = self.through.min(rest);
                self.through -= now;
                clean += now;
                if self.through > 0 {
                    return clean;
                }
                continue;
            }
            let Some(head) = bytes.get(clean..clean + HEAD) else { return clean };
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let whole = HEAD + size + 1;
            match head[0] {
                BODY | HEARTBEAT if size <= MOST => self.through = whole,
                kind @ (METHOD | HEADER) if size <= MOST => {
                    if rest < whole {
                        return clean;
                    }
                    let payload = &mut bytes[clean + HEAD..clean + HEAD + size];
                    // What cannot be followed is left as it is: the client says what is wrong.
                    let _followed = if kind == METHOD { method(payload) } else { header(payload) };
                    clean += whole;
                }
                _ => self.blind = true,
            }
        }
    }
}

/// A place in a frame's payload, behind which everything is still to be read.
struct At<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl At<'_> {
    fn skip(&mut self, many: usize) -> Option<()> {
        self.at = self.at.checked_add(many).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        (0..width).try_fold(0, |number, _| Some(number << 8 | usize::from(self.byte()?)))
    }

    /// A short string: what is no text in it becomes `?`.
    fn text(&mut self) -> Option<()> {
        let length = self.number(1)?;
        let start = self.at;
        self.skip(length)?;
        let text = &mut self.bytes[start..self.at];
        let mut good = 0;
        while let Err(error) = std::str::from_utf8(&text[good..]) {
            let bad = good + error.valid_up_to();
            good = error.error_len().map_or(text.len(), |length| bad + length);
            text[bad..good].fill(b'?');
        }
        Some(())
    }

    /// A table, its length first.
    fn table(&mut self, levels: usize) -> Option<()> {
        let end = self.number(4)?.checked_add(self.at).filter(|end| *end <= self.bytes.len())?;
        while self.at < end {
            self.text()?;
            self.value(levels)?;
        }
        Some(())
    }

    fn list(&mut self, levels: usize) -> Option<()> {
        let end = self.number(4)?.checked_add(self.at).filter(|end| *end <= self.bytes.len())?;
        while self.at < end {
            self.value(levels)?;
        }
        Some(())
    }

    fn value(&mut self, levels: usize) -> Option<()> {
        let letter = self.at;
        match self.byte()? {
            b't' | b'b' | b'B' => self.skip(1),
            b's' | b'U' | b'u' => self.skip(2),
            b'I' | b'i' | b'f' => self.skip(4),
            b'D' => self.skip(5),
            b'L' | b'l' | b'd' | b'T' => self.skip(8),
            b'V' => Some(()),
            b'S' | b'x' => self.raw(),
            b'A' | b'F' if levels == 0 => {
                self.bytes[letter] = b'x';
                self.raw()
            }
            b'A' => self.list(levels - 1),
            b'F' => self.table(levels - 1),
            _ => None,
        }
    }

    fn raw(&mut self) -> Option<()> {
        let length = self.number(4)?;
        self.skip(length)
    }
}

/// Methods that repeat names which others have chosen.
fn method(payload: &mut [u8]) -> Option<()> {
    let mut at = At { bytes: payload, at: 0 };
    match (at.number(2)?, at.number(2)?) {
        // basic.deliver: consumer, tag, redelivered, exchange, routing key.
        (60, 60) => {
            at.text()?;
            at.skip(9)?;
        }
        // basic.get-ok: tag, redelivered, exchange, routing key.
        (60, 71) => at.skip(9)?,
        // basic.return: code, text, exchange, routing key.
        (60, 50) => {
            at.skip(2)?;
            at.text()?;
        }
        _ => return Some(()),
    }
    at.text()?;
    at.text()
}

/// A message's properties.
fn header(payload: &mut [u8]) -> Option<()> {
    let mut at = At { bytes: payload, at: 0 };
    let is_basic = at.number(2)? == 60;
    at.skip(10)?;
    let flags = at.number(2)?;
    if !is_basic || flags & 1 != 0 {
        return Some(());
    }
    for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
        match bit {
            13 => at.table(LEVELS)?,
            12 | 11 => at.skip(1)?,
            6 => at.skip(8)?,
            _ => at.text()?,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&[kind, 0, 1][..], &length, payload, &[0xce]].concat()
    }

    fn short(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).expect("short")], text].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
    }

    fn deliver(key: &[u8]) -> Vec<u8> {
        let names = [short(b"tag"), vec![0; 9], short(b"orders"), short(key)].concat();
        frame(METHOD, &[&[0, 60, 0, 60], &*names].concat())
    }

    /// A header with this content type and these headers.
    fn content(kind: &[u8], fields: &[u8]) -> Vec<u8> {
        let properties = [short(kind), long(fields), short(b"id")].concat();
        let flags = (1_u16 << 15 | 1 << 13 | 1 << 7).to_be_bytes();
        frame(HEADER, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &flags, &properties].concat())
    }

    /// The whole stream, coming in pieces of this size.
    fn washed(stream: &[u8], piece: usize) -> Vec<u8> {
        let (mut wash, mut bytes, mut clean) = (Wash::default(), Vec::new(), 0);
        for part in stream.chunks(piece) {
            bytes.extend_from_slice(part);
            clean = wash.advance(&mut bytes, clean);
        }
        assert_eq!(clean, bytes.len(), "everything has come out");
        bytes
    }

    fn nested(levels: usize) -> Vec<u8> {
        (0..levels).fold(Vec::new(), |inner, level| {
            let letter = if level % 2 == 0 { b'F' } else { b'A' };
            let value = [&[letter], &*long(&inner)].concat();
            // The next one around it is a list where this is a table, and the other way round.
            if level % 2 == 0 { value } else { [short(b"t"), value].concat() }
        })
    }

    #[test]
    fn row_077_what_is_fit_passes_as_it_is_however_it_comes() {
        let fields = [short("tenant é".as_bytes()), b"S".to_vec(), long(b"blue \xff")].concat();
        let all_kinds: Vec<u8> = [
            (b't', 1),
            (b'b', 1),
            (b'B', 1),
            (b's', 2),
            (b'U', 2),
            (b'u', 2),
            (b'I', 4),
            (b'i', 4),
            (b'f', 4),
            (b'D', 5),
            (b'L', 8),
            (b'l', 8),
            (b'd', 8),
            (b'T', 8),
            (b'V', 0),
        ]
        .into_iter()
        .flat_map(|(letter, width)| [short(b"n"), vec![letter], vec![0xff; width]].concat())
        .collect();
        let stream = [
            deliver(b"key"),
            content(b"text/plain", &[fields, all_kinds].concat()),
            frame(BODY, &[0xff; 300]),
            frame(HEARTBEAT, b""),
            frame(METHOD, &[0, 10, 0, 10, 0xff, 0xff]),
            deliver("größe".as_bytes()),
        ]
        .concat();
        for piece in [1, 2, 7, 8, 100, stream.len()] {
            assert_eq!(washed(&stream, piece), stream, "in pieces of {piece}");
        }
    }

    #[test]
    fn row_077_names_that_are_no_text_become_text_and_bodies_stay() {
        let field = [short(b"na\xefve"), b"S".to_vec(), long(b"\xff\xfe")].concat();
        let stream =
            [deliver(b"gr\xf6\xdfe"), content(b"\xc3", &field), frame(BODY, b"\xc3")].concat();
        let expected = [
            deliver(b"gr??e"),
            content(b"?", &[short(b"na?ve"), b"S".to_vec(), long(b"\xff\xfe")].concat()),
            frame(BODY, b"\xc3"),
        ]
        .concat();
        for piece in [1, 9, stream.len()] {
            assert_eq!(washed(&stream, piece), expected);
        }
    }

    #[test]
    fn row_077_what_is_nested_too_deep_is_bytes_to_the_client() {
        for levels in [2, LEVELS, LEVELS + 2, 10_000] {
            let mut stream = content(b"a/b", &nested(levels));
            let letters = stream.iter().filter(|byte| **byte == b'x').count();
            let length = stream.len();
            assert_eq!(Wash::default().advance(&mut stream, 0), length);
            let now = stream.iter().filter(|byte| **byte == b'x').count();
            assert_eq!(now - letters, usize::from(levels > LEVELS), "{levels}: one letter or none");
        }
    }

    #[test]
    fn row_077_no_bytes_are_too_odd_to_be_washed() {
        // Deterministic noise, in frames that promise what they do not hold.
        let mut noise = 1_u32;
        let mut next = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        };
        for _ in 0..2_000 {
            let size = usize::from(next());
            let mut payload: Vec<u8> = (0..size).map(|_| next()).collect();
            payload.splice(0..0, [0, 60, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0]);
            for kind in [METHOD, HEADER, BODY] {
                let stream = frame(kind, &payload);
                assert_eq!(washed(&stream, 11).len(), stream.len());
            }
        }
        // What is no AMQP at all comes out as it came in.
        assert_eq!(washed(b"AMQP\0\0\x09\x01", 3), b"AMQP\0\0\x09\x01");
        assert_eq!(washed(b"\x01\0\0\xff\xff\xff\xffxyz", 4), b"\x01\0\0\xff\xff\xff\xffxyz");
    }
}
