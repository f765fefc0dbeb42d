//! Files of the simulated world: in the agent's workspace, on a server on the internet, on one inside of the gateway's network.
//! A file's name says what is in it, so that it is recognised wherever it turns up.

/// The server on the internet, on port 80.
pub const OUTSIDE: &str = "files.example";
/// The server that nobody may be led to by an address (S16), on port 80.
pub const INSIDE: &str = "inside";

/// Redirects that are followed (S16).
const HOPS: usize = 3;

/// Type and content of the file `name`; none when it is not there: it begins with `none`, or is of no known kind.
pub fn named(name: &str) -> Option<(&'static str, Vec<u8>)> {
    let (stem, ending) = name.rsplit_once('.')?;
    let (mime, magic): (_, &[u8]) = match ending {
        "png" => ("image/png", b"\x89PNG\r\n\x1a\n"),
        "jpg" => ("image/jpeg", b"\xff\xd8\xff\xe0"),
        "webp" => ("image/webp", b"RIFF\x20\0\0\0WEBP"),
        "txt" => ("text/plain", b""),
        "pdf" => ("application/pdf", b"%PDF-1.4\n"),
        _ => return None,
    };
    let content = [magic, b"what stands in ", name.as_bytes()].concat();
    (!stem.starts_with("none")).then_some((mime, content))
}

/// What a server of files says to the path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// This file, as that type.
    File(String, &'static str),
    /// Look there.
    Redirect(String),
    /// No file: this status.
    Status(u16),
    /// Half of a file, then the connection ends.
    Cut(String),
    /// More bytes than may be sent, by the head of the answer.
    Huge,
}

/// `/NAME` is a file, `/to/N/NAME` leads to it over N redirects, `/SOMETHING/NAME` to what goes wrong.
pub fn served(path: &str) -> Served {
    let to = |place: String| Served::Redirect(place);
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts[..] {
        [name] => match named(name) {
            Some((mime, _)) => Served::File(name.to_owned(), mime),
            None => Served::Status(404),
        },
        ["to", hops, name] => match hops.parse::<u32>().unwrap_or(0) {
            0 | 1 => to(format!("/{name}")),
            // By turns as a path and as a whole address.
            n if n % 2 == 0 => to(format!("http://{OUTSIDE}/to/{}/{name}", n - 1)),
            n => to(format!("/to/{}/{name}", n - 1)),
        },
        ["typed", name] => Served::File(name.to_owned(), "Image/PNG; of=world"),
        ["inside", name] => to(format!("http://{INSIDE}/{name}")),
        ["port", name] => to(format!("http://{OUTSIDE}:8080/{name}")),
        ["cut", name] => Served::Cut(name.to_owned()),
        ["huge", _] => Served::Huge,
        _ => Served::Status(404),
    }
}

/// What must come of a media address of `send`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// This file is sent: name, type, content.
    File(String, String, Vec<u8>),
    /// It is refused with one of these codes.
    Refused(&'static [&'static str]),
}

/// What a path in the workspace, or an address, stands for (S16, S29): a file that may be sent, or a refusal. The simulated
/// network has no TLS: its public addresses begin with `http:`.
pub fn media(url: &str) -> Media {
    let local = url.strip_prefix("file://").unwrap_or(url);
    if !local.contains("://") {
        let name = local.rsplit('/').next().unwrap_or_default();
        return match named(name).filter(|_| !name.starts_with("film")) {
            Some((mime, content)) => Media::File(name.to_owned(), mime.to_owned(), content),
            None => Media::Refused(&["MEDIA_FILE"]),
        };
    }
    const BAD: Media = Media::Refused(&["MEDIA_URL"]);
    const UNREACHABLE: Media = Media::Refused(&["MEDIA_UNREACHABLE"]);
    let mut at = url.to_owned();
    for _ in 0..=HOPS {
        let Some((host, path)) = at.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else { return BAD };
        if host.contains([':', '@']) {
            return BAD;
        }
        if host != OUTSIDE {
            return UNREACHABLE;
        }
        match served(path) {
            Served::File(name, mime) => {
                let mime = mime.split(';').next().unwrap_or_default().to_ascii_lowercase();
                return named(&name).map_or(UNREACHABLE, |(_, content)| Media::File(name, mime, content));
            }
            Served::Redirect(to) if to.starts_with('/') => at = format!("http://{OUTSIDE}{to}"),
            Served::Redirect(to) => at = to,
            Served::Status(_) | Served::Cut(_) => return UNREACHABLE,
            Served::Huge => return Media::Refused(&["MEDIA_TOO_LARGE"]),
        }
    }
    BAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_files_or_nowhere() {
        let name = |url: &str| match media(url) {
            Media::File(name, mime, _) => format!("{name} {mime}"),
            Media::Refused(codes) => codes.concat(),
        };
        assert_eq!(name("file:///workspace/a-1.png"), "a-1.png image/png");
        assert_eq!(name("http://files.example/to/3/a-1.txt"), "a-1.txt text/plain");
        assert_eq!(name("http://files.example/to/4/a-1.txt"), "MEDIA_URL");
        assert_eq!(name("http://files.example/typed/a-1.pdf"), "a-1.pdf image/png");
        for (bad, code) in [
            ("/workspace/none.png", "MEDIA_FILE"),
            ("/workspace/film.bin", "MEDIA_FILE"),
            ("https://files.example/a.png", "MEDIA_URL"),
            ("http://files.example:8080/a.png", "MEDIA_URL"),
            ("http://files.example/port/a.png", "MEDIA_URL"),
            ("http://files.example/inside/a.png", "MEDIA_UNREACHABLE"),
            ("http://10.0.0.1/a.png", "MEDIA_UNREACHABLE"),
            ("http://files.example/none.png", "MEDIA_UNREACHABLE"),
            ("http://files.example/cut/a.png", "MEDIA_UNREACHABLE"),
            ("http://files.example/huge/a.png", "MEDIA_TOO_LARGE"),
        ] {
            assert_eq!(name(bad), code, "{bad}");
        }
    }

    #[test]
    fn files_differ_by_their_names() {
        assert_ne!(named("a-1.png"), named("a-2.png"));
        assert_eq!((named("none-1.png"), named("a")), (None, None));
    }
}
