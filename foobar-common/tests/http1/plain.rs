//! HTTP/1.x read as plainly as possible: all bytes at once, line by line.

use foobar_common::service::Loss;

/// What a plain reading finds in the bytes of one side.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Methods of requests, or statuses of responses.
    pub(crate) messages: Vec<String>,
    /// Why it could not go on.
    pub(crate) loss: Option<Loss>,
}

/// What the requests of a connection are.
pub(crate) fn requests(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    reading.loss = read_requests(bytes, &mut reading.messages).err();
    reading
}

/// What the responses to these requests are, where a connection may go on in HTTP/2, or not.
pub(crate) fn responses(bytes: &[u8], requests: &Reading, may_be_http2: bool) -> Reading {
    let mut reading = Reading::default();
    reading.loss = read_responses(bytes, requests, may_be_http2, &mut reading.messages).err();
    reading
}

fn read_requests(mut bytes: &[u8], messages: &mut Vec<String>) -> Result<(), Loss> {
    loop {
        while let Some(rest) = bytes.strip_prefix(b"\r").or_else(|| bytes.strip_prefix(b"\n")) {
            bytes = rest;
        }
        // What is no method is seen before the line has ended.
        let token = bytes.iter().take_while(|byte| is_of_method(**byte)).count();
        match bytes.get(token) {
            None if token <= 32 => return Ok(()),
            Some(b' ') if (1..=32).contains(&token) => {}
            _ => return Err(Loss::NotHttp),
        }
        let Some((line, rest)) = line(bytes) else { return Ok(()) };
        let version = line.strip_suffix(b"\r").unwrap_or(line);
        let version = &version[version.len().saturating_sub(8)..];
        if !(version.starts_with(b"HTTP/1.") && version.len() == 8 && version[7].is_ascii_digit()) {
            return Err(Loss::NotHttp);
        }
        messages.push(String::from_utf8_lossy(&bytes[..token]).into_owned());
        let Some((headers, rest)) = headers(rest)? else { return Ok(()) };
        let Some(rest) = body(rest, &headers, false)? else { return Ok(()) };
        bytes = rest;
    }
}

fn read_responses(
    mut bytes: &[u8],
    requests: &Reading,
    may_be_http2: bool,
    messages: &mut Vec<String>,
) -> Result<(), Loss> {
    let mut methods = requests.messages.iter();
    loop {
        let version = b"HTTP/1.1";
        for (number, byte) in bytes.iter().take(12).enumerate() {
            let is_right = match number {
                7 => byte.is_ascii_digit(),
                8 => *byte == b' ',
                9.. if !byte.is_ascii_digit() => return Err(Loss::Status),
                9.. => true,
                _ => *byte == version[number],
            };
            if !is_right {
                return Err(Loss::NotHttp);
            }
        }
        if bytes.len() < 12 {
            return Ok(());
        }
        let status = String::from_utf8_lossy(&bytes[9..12]).into_owned();
        if !("100"..="599").contains(&status.as_str()) {
            return Err(Loss::Status);
        }
        messages.push(status.clone());
        let Some((_, rest)) = line(bytes) else { return Ok(()) };
        let Some((headers, rest)) = headers(rest)? else { return Ok(()) };
        if status.starts_with('1') && status != "101" {
            bytes = rest;
            continue;
        }
        let method = methods.next().map(String::as_str);
        // It may be for the request that was lost.
        if method.is_none() && requests.loss.is_some() {
            return Err(Loss::Unpaired);
        }
        if status == "101" {
            // A frame of HTTP/2 would follow, and none that is made here is one.
            let is_frame = may_be_http2 && rest.first() == Some(&0);
            return if is_frame { Err(Loss::NotHttp) } else { Ok(()) };
        }
        if method == Some("CONNECT") && status.starts_with('2') {
            return Ok(());
        }
        if method == Some("HEAD") || status == "204" || status == "304" {
            bytes = rest;
            continue;
        }
        let Some(rest) = body(rest, &headers, true)? else { return Ok(()) };
        bytes = rest;
    }
}

fn is_of_method(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-' || byte == b'_'
}

/// The line before the first line feed, and what follows that.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// What the headers say of the body.
#[derive(Default)]
struct Headers {
    length: Option<u64>,
    is_chunked: bool,
}

/// `None` if they do not end.
fn headers(mut bytes: &[u8]) -> Result<Option<(Headers, &[u8])>, Loss> {
    let mut headers = Headers::default();
    loop {
        match bytes {
            [] | [b'\r'] => return Ok(None),
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => return Ok(Some((headers, rest))),
            [b'\r', ..] => return Err(Loss::Header),
            [b' ' | b'\t', ..] => return Err(Loss::Folded),
            _ => {}
        }
        let Some((line, rest)) = line(bytes) else {
            // What is wrong shows before the line has ended.
            return known(bytes, &mut headers, false).map(|()| None);
        };
        known(line, &mut headers, true)?;
        bytes = rest;
    }
}

/// Reads a line that may be one of the two headers that matter.
fn known(line: &[u8], headers: &mut Headers, is_whole: bool) -> Result<(), Loss> {
    let after = |name: &[u8]| {
        let is = line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name);
        is.then(|| &line[name.len()..])
    };
    let spaced = |rest: &[u8]| matches!(rest, [b' ' | b'\t', ..]);
    if let Some(rest) = after(b"content-length") {
        if spaced(rest) {
            return Err(Loss::Header);
        }
        if let Some(value) = rest.strip_prefix(b":") {
            if headers.length.is_some() {
                return Err(Loss::ContentLength);
            }
            let number = length(value, is_whole)?;
            headers.length = is_whole.then_some(number);
        }
    } else if let Some(rest) = after(b"transfer-encoding") {
        if spaced(rest) {
            return Err(Loss::Header);
        }
        if let Some(value) = rest.strip_prefix(b":") {
            let text = String::from_utf8_lossy(value).to_ascii_lowercase();
            let text = text.strip_suffix('\r').filter(|_| is_whole).unwrap_or(&text);
            let text = text.trim_matches([' ', '\t']);
            if is_whole {
                if text != "chunked" || headers.is_chunked {
                    return Err(Loss::TransferEncoding);
                }
                headers.is_chunked = true;
            } else if !"chunked".starts_with(text.trim_end_matches('\r')) {
                return Err(Loss::TransferEncoding);
            }
        }
    }
    Ok(())
}

fn length(value: &[u8], is_whole: bool) -> Result<u64, Loss> {
    let text = std::str::from_utf8(value).map_err(|_wrong| Loss::ContentLength)?;
    let text = text.strip_suffix('\r').unwrap_or(text).trim_matches([' ', '\t']);
    if text.is_empty() && !is_whole && !value.ends_with(b"\r") {
        return Ok(0);
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_number && *number <= (1 << 52) * 10 + 9);
    number.ok_or(Loss::ContentLength)
}

/// What follows the body; `None` if it does not end.
fn body<'a>(bytes: &'a [u8], headers: &Headers, is_response: bool) -> Result<Option<&'a [u8]>, Loss> {
    match (headers.length, headers.is_chunked) {
        (Some(_), true) => Err(Loss::TwoLengths),
        (Some(length), false) => Ok(bytes.get(usize::try_from(length).unwrap_or(usize::MAX)..)),
        (None, false) if is_response => Ok(None),
        (None, false) => Ok(Some(bytes)),
        (None, true) => chunks(bytes),
    }
}

fn chunks(mut bytes: &[u8]) -> Result<Option<&[u8]>, Loss> {
    loop {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        match bytes.get(digits) {
            _ if digits > 13 => return Err(Loss::Chunk),
            None => return Ok(None),
            Some(b'\r' | b'\n' | b';' | b' ' | b'\t') if digits > 0 => {}
            Some(_) => return Err(Loss::Chunk),
        }
        let size = std::str::from_utf8(&bytes[..digits]).map_err(|_wrong| Loss::Chunk)?;
        let size = u64::from_str_radix(size, 16).map_err(|_wrong| Loss::Chunk)?;
        let Some((_, rest)) = line(bytes) else { return Ok(None) };
        if size == 0 {
            return trailer(rest);
        }
        let Some(rest) = rest.get(usize::try_from(size).unwrap_or(usize::MAX)..) else { return Ok(None) };
        bytes = match rest {
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(Loss::Chunk),
        };
    }
}

fn trailer(mut bytes: &[u8]) -> Result<Option<&[u8]>, Loss> {
    loop {
        match bytes {
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => return Ok(Some(rest)),
            [] | [b'\r'] => return Ok(None),
            [b'\r', ..] => return Err(Loss::Chunk),
            _ => {}
        }
        let Some((_, rest)) = line(bytes) else { return Ok(None) };
        bytes = rest;
    }
}
