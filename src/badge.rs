//! The badge: the state as a small picture for a README.
//!
//! It is drawn as the badges that stand beside it: white text on two halves, 20 pixels high. Nobody knows here which font
//! it will be drawn with, so its widths are those of DejaVu Sans, which are nearly those of Verdana, and each text says how
//! wide it has to be, whatever stands in for that. All lengths are in tenths of a pixel.

use core::fmt::{self, Write};

use crate::markup::{escape, fill};
use crate::summary::{State, Summary, TEXT_MAX, Text};

/// The most bytes of a badge: its two texts, each of which is there twice, with every byte escaped, and what is around them.
pub const BADGE_MAX: usize = 4 * TEXT_MAX * "&quot;".len() + 2048;

/// How far apart the edge of a half and its text are.
const PADDING: u32 = 50;

/// How wide the characters from the space to `~` are, in DejaVu Sans of 11 pixels.
const WIDTHS: &[u8; 95] = b"#,3\\FiV\x1e++7\\#(#%FFFFFFFFFF%%\\\\\\:nKKMUF?US  H=_RWBWLFCQKmKCK+%+\\77CF<FD'FF\x1f\x1f@\x1fkFCFF-9+FAZAA:F%F\\";

/// What the left half says by itself.
const LABEL: &str = "gitops";

/// The colour of the left half.
const LEFT: &str = "#555";

/// The colour of the right half. Each has to let white text be read.
fn colour(state: State, stale: bool) -> &'static str {
    match state {
        _ if stale => "#666",
        State::Synced => "#287d3c",
        State::OutOfSync => "#b93a10",
        State::Unknown => "#666",
        State::Other => "#1f6cb0",
    }
}

const FLAT: &str = "\
<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"$w\" height=\"20\" viewBox=\"0 0 $W 200\" role=\"img\" aria-label=\"$t\">\
<title>$t</title>\
<clipPath id=\"c\"><rect width=\"$W\" height=\"200\" rx=\"$r\"/></clipPath>\
<g clip-path=\"url(#c)\"><rect width=\"$a\" height=\"200\" fill=\"$d\"/>\
<rect x=\"$a\" width=\"$b\" height=\"200\" fill=\"$e\"/></g>\
<g fill=\"#fff\" font-family=\"Verdana,Geneva,DejaVu Sans,sans-serif\" font-size=\"110\">$L$V</g></svg>\n";

/// Writes the badge. `query` is what stands behind the `?` of the request target, or nothing. Of it, `label` is what the
/// left half says, and where that is empty there is none; `style` is `flat` or `flat-square`; anything else is left alone,
/// for it may be there to get past a cache.
///
/// # Errors
/// Those of `out`.
pub fn render(out: &mut dyn Write, summary: &Summary, stale: bool, query: &str) -> fmt::Result {
    let mut label = Text::of(LABEL.chars());
    let mut radius = 30;
    for parameter in query.split('&') {
        if let Some(given) = parameter.strip_prefix("label=") {
            label = decoded(given);
        } else if let Some(given) = parameter.strip_prefix("style=") {
            radius = if given == "flat-square" { 0 } else { 30 };
        }
    }
    let unknown = Text::of("UNKNOWN".chars());
    let said = summary.sync_status.as_ref().filter(|text| !text.as_str().trim().is_empty()).unwrap_or(&unknown);
    let behind = if stale { " · stale" } else { "" };
    let value = || said.characters().chain(behind.chars());

    let text_widths = [width(label.characters()), width(value())];
    let half = |text| if text == 0 { 0 } else { text + 2 * PADDING };
    let [left, right] = text_widths.map(half);
    fill(out, FLAT, &mut |out, letter| {
        let mut number = |number: u32| write!(out, "{number}");
        match letter {
            b'w' => number((left + right) / 10),
            b'W' => number(left + right),
            b'r' => number(radius),
            b'a' => number(left),
            b'b' => number(right),
            b'd' => out.write_str(LEFT),
            b'e' => out.write_str(colour(summary.state(), stale)),
            b't' => {
                escape(out, label.characters())?;
                out.write_str(if left == 0 { "" } else { ": " })?;
                escape(out, value())
            }
            b'L' if left == 0 => Ok(()),
            b'L' => text(out, PADDING, text_widths[0], &mut label.characters()),
            _ => text(out, left + PADDING, text_widths[1], &mut value()),
        }
    })
}

fn text(out: &mut dyn Write, at: u32, width: u32, characters: &mut dyn Iterator<Item = char>) -> fmt::Result {
    write!(out, "<text x=\"{at}\" y=\"140\" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\">")?;
    escape(out, characters)?;
    out.write_str("</text>")
}

/// How wide a text is, in whole pixels. Beyond ASCII that is by and large.
fn width(characters: impl Iterator<Item = char>) -> u32 {
    let of = |character: char| match character {
        ' '..='~' => u32::from(WIDTHS[character as usize - 0x20]),
        // Combining marks, joiners, variation selectors.
        '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5bd}' | '\u{64b}'..='\u{65f}' | '\u{200b}'..='\u{200f}' => 0,
        '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{b7}' => 35,
        '…' => 110,
        // Ideographs, syllables, emoji.
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'.. => 120,
        '\u{400}'..='\u{52f}' => 80,
        '\u{590}'..='\u{7ff}' => 56,
        _ => 70,
    };
    // What has no width of its own is there all the same.
    characters.map(|character| of(character).max(1)).sum::<u32>().next_multiple_of(10)
}

/// What is meant by the value of a parameter (percent-encoding: RFC 3986 §2.1; a plus is a space, as forms have it).
fn decoded(value: &str) -> Text {
    let mut bytes = heapless::Vec::<u8, { 4 * TEXT_MAX }>::new();
    let mut rest = value.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        let byte = match (first, behind) {
            (b'+', _) => b' ',
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = behind;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => *first,
        };
        if bytes.push(byte).is_err() {
            break;
        }
    }
    let characters = bytes.utf8_chunks().flat_map(|chunk| {
        let bad = !chunk.invalid().is_empty();
        chunk.valid().chars().chain(bad.then_some(char::REPLACEMENT_CHARACTER))
    });
    Text::of(characters)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn summary(sync_status: &str) -> Summary {
        Summary { sync_status: Some(Text::of(sync_status.chars())), ..Summary::NONE }
    }

    fn badge(summary: &Summary, stale: bool, query: &str) -> String {
        let mut out = String::new();
        render(&mut out, summary, stale, query).unwrap();
        assert!(out.len() <= BADGE_MAX, "{}", out.len());
        out
    }

    /// What a reader of the picture has of it.
    #[derive(Debug, PartialEq)]
    struct Seen {
        title: String,
        texts: Vec<String>,
        fill: String,
        width: u32,
    }

    fn seen(svg: &str) -> Seen {
        let document = roxmltree::Document::parse(svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
        let root = document.root_element();
        let named = |name: &str| -> Vec<_> { root.descendants().filter(|node| node.has_tag_name(name)).collect() };
        let text = |node: &roxmltree::Node<'_, '_>| node.text().unwrap_or_default().into();
        let title: String = text(&named("title")[0]);
        assert_eq!((root.attribute("role"), root.attribute("aria-label")), (Some("img"), Some(&title[..])));
        // Each text lies within its half, and the halves within the picture.
        let number = |node: &roxmltree::Node<'_, '_>, name| node.attribute(name).unwrap_or("0").parse::<u32>().unwrap();
        let halves: Vec<_> = named("rect")[1..].iter().map(|rect| (number(rect, "x"), number(rect, "width"))).collect();
        let used: Vec<_> = halves.iter().filter(|half| half.1 > 0).collect();
        assert_eq!(used.len(), named("text").len());
        for (text, (x, width)) in named("text").iter().zip(used) {
            assert_eq!((number(text, "x"), number(text, "textLength")), (x + PADDING, width - 2 * PADDING));
        }
        assert_eq!(halves[1].0 + halves[1].1, number(&root, "width") * 10);
        Seen {
            title,
            texts: named("text").iter().map(text).collect(),
            fill: named("rect")[2].attribute("fill").unwrap().into(),
            width: number(&root, "width"),
        }
    }

    #[test]
    fn a_badge_says_what_was_posted_in_the_colour_of_its_state() {
        for (status, stale, value, fill) in [
            (r#"{"sync_status":"SYNCED"}"#, false, "SYNCED", "#287d3c"),
            (r#"{"sync_status":"OUT_OF_SYNC"}"#, false, "OUT_OF_SYNC", "#b93a10"),
            (r#"{"sync_status":"UNKNOWN"}"#, false, "UNKNOWN", "#666"),
            (r#"{"sync_status":""}"#, false, "UNKNOWN", "#666"),
            (r#"{"sync_status":"  "}"#, false, "UNKNOWN", "#666"),
            (r#"{"sync_status":null}"#, false, "UNKNOWN", "#666"),
            (r#"{"sync_status":"Progressing"}"#, false, "Progressing", "#1f6cb0"),
            (r#"{"sync_status":"SYNCED"}"#, true, "SYNCED · stale", "#666"),
            (r#"{"sync_status":"OUT_OF_SYNC"}"#, true, "OUT_OF_SYNC · stale", "#666"),
        ] {
            let summary = Summary::of(&status::read(status.as_bytes()).unwrap());
            let seen = seen(&badge(&summary, stale, ""));
            assert_eq!((seen.title, seen.fill), (format!("gitops: {value}"), fill.into()));
            assert_eq!(seen.texts, ["gitops", value]);
        }
    }

    #[test]
    fn white_text_can_be_read_on_every_colour() {
        // The relative luminance and the contrast ratio of WCAG 2.
        let contrast = |colour: &str| {
            let digits: Vec<u32> = colour[1..].chars().map(|digit| digit.to_digit(16).unwrap()).collect();
            let channels: Vec<f64> = match digits.len() {
                3 => digits.iter().map(|digit| f64::from(digit * 17) / 255.0).collect(),
                _ => digits.chunks(2).map(|pair| f64::from(pair[0] * 16 + pair[1]) / 255.0).collect(),
            };
            let linear =
                |channel: f64| if channel <= 0.04045 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) };
            let luminance = 0.2126 * linear(channels[0]) + 0.7152 * linear(channels[1]) + 0.0722 * linear(channels[2]);
            1.05 / (luminance + 0.05)
        };
        for state in [State::Synced, State::OutOfSync, State::Unknown, State::Other] {
            for colour in [LEFT, colour(state, false), colour(state, true)] {
                assert!(contrast(colour) >= 4.5, "{colour}: {}", contrast(colour));
            }
        }
    }

    #[test]
    fn the_label_is_what_the_query_says() {
        for (query, label) in [
            ("", "gitops"),
            ("label=prod", "prod"),
            ("_=123&label=prod+eu%2Dwest&x", "prod eu-west"),
            ("label=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "<script>alert(1)</script>"),
            ("label=%22%27%26", "\"'&"),
            ("label=a%00%1b%e2%80%aeb", "a\u{fffd}\u{fffd}\u{fffd}b"),
            ("label=%c3%a9%ff%", "é\u{fffd}%"),
            ("label=%zz%4", "%zz%4"),
            ("Label=x", "gitops"),
            ("label=a&label=b", "b"),
        ] {
            let seen = seen(&badge(&summary("SYNCED"), false, query));
            assert_eq!((&seen.texts[0][..], seen.title), (label, format!("{label}: SYNCED")), "{query}");
        }
        let alone = seen(&badge(&summary("SYNCED"), false, "label="));
        assert_eq!((alone.title, alone.texts), ("SYNCED".into(), std::vec![String::from("SYNCED")]));
    }

    #[test]
    fn the_style_is_round_or_square() {
        for (query, radius) in [("", "30"), ("style=flat", "30"), ("style=flat-square", "0"), ("style=%22", "30")] {
            assert!(badge(&summary("SYNCED"), false, query).contains(&format!("rx=\"{radius}\"")), "{query}");
        }
    }

    #[test]
    fn a_half_is_as_wide_as_its_text() {
        let of = |text: &str| seen(&badge(&summary(text), false, "label=")).width;
        assert_eq!([of("SYNCED"), of("iiii"), of("WWWW"), of("同期済み")], [56, 23, 54, 58]);
        // Joiners and marks alone have a half and its colour too.
        assert_eq!([of("\u{200d}\u{301}"), of("\u{301}")], [11, 11]);
        let mut before = 0;
        for length in 1..=TEXT_MAX {
            let width = of(&"x".repeat(length));
            assert!(width > before);
            before = width;
        }
        assert!(of(&"x".repeat(TEXT_MAX + 1)) > before, "there is an ellipsis");
    }

    #[test]
    fn any_badge_is_well_formed() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for _ in 0..2_000 {
            let text: String = (0..random(150))
                .filter_map(|_| char::from_u32([random(0x80), random(0x11_0000)][random(2)] as u32))
                .collect();
            let query: String =
                (0..random(300)).map(|_| char::from(b"label=style&%+09afFz\"<>'"[random(24)])).collect();
            seen(&badge(&summary(&text), random(2) == 1, &format!("label={query}")));
        }
        for hostile in ["\"", "&", "\u{1}"] {
            let encoded = format!("label={}", format!("%{:02x}", hostile.as_bytes()[0]).repeat(600));
            seen(&badge(&summary(&hostile.repeat(200)), true, &encoded));
        }
    }

    #[test]
    fn the_badges_of_the_readme_are_what_is_served() {
        let root = env!("CARGO_MANIFEST_DIR");
        for (name, word, stale) in
            [("synced", "SYNCED", false), ("out-of-sync", "OUT_OF_SYNC", false), ("stale", "SYNCED", true)]
        {
            let path = format!("{root}/assets/badge-{name}.svg");
            let found = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(found, badge(&summary(word), stale, ""), "{name}");
        }
    }
}
