//! RESP, as far as a Sentinel speaks it: requests in, replies of both protocol versions out. Pure.
//!
//! A request is an array of bulk strings, or a line of words ("inline", for people with telnet). Every
//! length is limited before anything is set aside for it: what a client announces is never believed.

/// Most words of a request.
pub const WORDS_MAX: usize = 64;
/// Most bytes of a request.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// One request, or what the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed.
    Incomplete,
    /// A request, and how many bytes it took; no words for an empty line.
    Request(Vec<Vec<u8>>, usize),
    /// What follows cannot be understood any more; the sentence is the error to answer before closing.
    Broken(&'static str),
}

/// Parses the beginning of what was received.
pub fn parse(bytes: &[u8]) -> Parsed {
    match bytes.first() {
        None => Parsed::Incomplete,
        Some(b'*') => parse_array(bytes),
        Some(_) => parse_inline(bytes),
    }
}

/// A line without its end, and where the next begins.
fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let length = bytes[from..].iter().position(|byte| *byte == b'\n')?;
    let line = &bytes[from..from + length];
    Some((line.strip_suffix(b"\r").unwrap_or(line), from + length + 1))
}

fn number(line: &[u8]) -> Option<i64> {
    const DIGITS_MAX: usize = 12;
    let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= DIGITS_MAX)?;
    text.parse().ok()
}

fn unfinished(bytes: &[u8]) -> Parsed {
    if bytes.len() > REQUEST_BYTES_MAX {
        return Parsed::Broken("ERR Protocol error: too big request");
    }
    Parsed::Incomplete
}

fn parse_array(bytes: &[u8]) -> Parsed {
    let Some((head, mut at)) = line(bytes, 1) else { return unfinished(bytes) };
    let Some(count) = number(head) else {
        return Parsed::Broken("ERR Protocol error: invalid multibulk length");
    };
    if count <= 0 {
        return Parsed::Request(Vec::new(), at);
    }
    let Some(count) = usize::try_from(count).ok().filter(|count| *count <= WORDS_MAX) else {
        return Parsed::Broken("ERR Protocol error: invalid multibulk length");
    };
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        match bytes.get(at) {
            None => return unfinished(bytes),
            Some(b'$') => {}
            Some(_) => return Parsed::Broken("ERR Protocol error: expected '$'"),
        }
        let Some((head, begin)) = line(bytes, at + 1) else { return unfinished(bytes) };
        let length = number(head).and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|length| *length <= REQUEST_BYTES_MAX) else {
            return Parsed::Broken("ERR Protocol error: invalid bulk length");
        };
        let end = begin + length;
        let Some(tail) = bytes.get(end..end + 2) else { return unfinished(bytes) };
        if tail != b"\r\n" {
            return Parsed::Broken("ERR Protocol error: bulk string without its end");
        }
        words.push(bytes[begin..end].to_vec());
        at = end + 2;
        if at > REQUEST_BYTES_MAX {
            return Parsed::Broken("ERR Protocol error: too big request");
        }
    }
    Parsed::Request(words, at)
}

fn parse_inline(bytes: &[u8]) -> Parsed {
    const LINE_BYTES_MAX: usize = 4096;
    let Some((text, end)) = line(bytes, 0) else {
        return if bytes.len() > LINE_BYTES_MAX {
            Parsed::Broken("ERR Protocol error: too big inline request")
        } else {
            Parsed::Incomplete
        };
    };
    let words: Vec<Vec<u8>> =
        text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
    if words.len() > WORDS_MAX {
        return Parsed::Broken("ERR Protocol error: too many words");
    }
    // A browser that was led here must not be taken for a client.
    let is_http = words.first().is_some_and(|word| word.ends_with(b":") || word == b"POST")
        || words.last().is_some_and(|word| word.starts_with(b"HTTP/"));
    if is_http {
        return Parsed::Broken("ERR this is the Sentinel protocol of redis, not HTTP");
    }
    Parsed::Request(words, end)
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and the like.
    Simple(&'static str),
    /// `-ERR …`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// A bulk string.
    Bulk(String),
    /// Nothing there.
    Nil,
    /// An array that is not there; differs from [`Reply::Nil`] only in RESP2.
    NilArray,
    /// An array.
    Array(Vec<Reply>),
    /// A map; in RESP2 an array of keys and values.
    Map(Vec<(&'static str, Reply)>),
    /// Something nobody asked for at this moment; in RESP2 an array.
    Push(Vec<Reply>),
}

impl Reply {
    /// A bulk string.
    pub fn bulk(text: impl Into<String>) -> Self {
        Self::Bulk(text.into())
    }

    /// Appends the reply in the wire form of a protocol version (2 or 3).
    pub fn encode(&self, version: u8, out: &mut Vec<u8>) {
        let resp3 = version >= 3;
        match self {
            Self::Simple(text) => head(out, b'+', text),
            // A client's words may be quoted in an error; a line break in them would be a second reply.
            Self::Error(text) => head(out, b'-', &text.replace(['\r', '\n'], " ")),
            Self::Integer(number) => head(out, b':', &number.to_string()),
            Self::Bulk(text) => {
                head(out, b'$', &text.len().to_string());
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Self::Nil | Self::NilArray if resp3 => out.extend_from_slice(b"_\r\n"),
            Self::Nil => out.extend_from_slice(b"$-1\r\n"),
            Self::NilArray => out.extend_from_slice(b"*-1\r\n"),
            Self::Array(items) => many(out, b'*', items, version),
            Self::Push(items) => many(out, if resp3 { b'>' } else { b'*' }, items, version),
            Self::Map(entries) => {
                let (sign, count) = if resp3 { (b'%', entries.len()) } else { (b'*', entries.len() * 2) };
                head(out, sign, &count.to_string());
                for (name, value) in entries {
                    Self::bulk(*name).encode(version, out);
                    value.encode(version, out);
                }
            }
        }
    }
}

fn head(out: &mut Vec<u8>, sign: u8, text: &str) {
    out.push(sign);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn many(out: &mut Vec<u8>, sign: u8, items: &[Reply], version: u8) {
    head(out, sign, &items.len().to_string());
    for item in items {
        item.encode(version, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn requests_are_read_whole_or_not_at_all() {
        let request = b"*2\r\n$4\r\nPING\r\n$2\r\nhi\r\n";
        for cut in 0..request.len() {
            assert_eq!(parse(&request[..cut]), Parsed::Incomplete, "{cut}");
        }
        assert_eq!(parse(request), Parsed::Request(words(&["PING", "hi"]), request.len()));
        assert_eq!(parse(b"PING  hi\r\nmore"), Parsed::Request(words(&["PING", "hi"]), 10));
        assert_eq!(parse(b"*-1\r\n"), Parsed::Request(Vec::new(), 5));
        assert_eq!(parse(b"*0\r\n"), Parsed::Request(Vec::new(), 4));
    }

    #[test]
    fn what_cannot_be_a_request_is_refused_before_anything_is_set_aside() {
        for bytes in [
            &b"*1000000000\r\n"[..],
            b"*x\r\n",
            b"*1\r\n$-5\r\n",
            b"*1\r\n$999999999\r\n",
            b"*1\r\n:5\r\n",
            b"*1\r\n$1\r\nabc",
            b"GET / HTTP/1.1\r\n",
            b"Host: x\r\n",
        ] {
            assert!(matches!(parse(bytes), Parsed::Broken(_)), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(matches!(parse(&[b'a'; 5000]), Parsed::Broken(_)));
    }

    #[test]
    fn replies_differ_by_protocol_version() {
        let reply = Reply::Map(vec![("a", Reply::Nil), ("b", Reply::Array(vec![Reply::Integer(1)]))]);
        let encode = |version| {
            let mut out = Vec::new();
            reply.encode(version, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(encode(2), "*4\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n*1\r\n:1\r\n");
        assert_eq!(encode(3), "%2\r\n$1\r\na\r\n_\r\n$1\r\nb\r\n*1\r\n:1\r\n");
        let mut out = Vec::new();
        Reply::Error("ERR a\r\n+OK".to_owned()).encode(2, &mut out);
        assert_eq!(out, b"-ERR a  +OK\r\n");
    }
}
