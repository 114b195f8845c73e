//! What pages share: nothing from elsewhere, sounds lie beside them.

const STYLE: &str = "\
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, .words { text-align: left; }
.hit { background: #d9efe0; } .miss { background: #f8ddd6; }
audio { width: 15rem; height: 2rem; vertical-align: middle; }
svg { display: block; margin: .3rem 0; background: #fafafa; }
article { margin: 1.4rem 0; padding-top: .6rem; border-top: 1px solid #ddd; }
article span { display: inline-block; margin: .3rem 1rem .3rem 0; }
.wide { overflow-x: auto; }
small, .legend { color: #666; }";

/// End of a page.
pub(crate) const END: &str = "</body></html>\n";

/// A page up to its heading; both are plain text.
pub(crate) fn begin(title: &str, heading: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\n\
         <style>\n{STYLE}\n</style></head><body>\n<h1>{}</h1>\n",
        escape(title),
        escape(heading)
    )
}

/// A figure with so many digits after the point, or a dash.
#[cfg(feature = "judge")]
pub(crate) fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.digits$}"))
}

/// A share, or a dash.
#[cfg(feature = "judge")]
pub(crate) fn per_cent(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{:.1} %", 100.0 * value))
}

/// The address of a file beside the page, given by its path with slashes.
pub(crate) fn address(path: &str) -> String {
    path.bytes().fold(String::new(), |mut address, byte| {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'~' => address.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => address.push(byte.into()),
            byte => address += &format!("%{byte:02X}"),
        }
        address
    })
}

/// Text as HTML shows it, in attributes as well.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, letter| {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            _ => escaped.push(letter),
        }
        escaped
    })
}
