//! What is wrong with a configuration, where, and what to do: collected, then rendered at once.
//! It never shows a secret: the text it quotes is redacted before it gets here.

use std::{fmt, ops::Range};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, NamedSource,
    SourceCode, SourceSpan, SpanContents,
};
use textwrap::WordSplitter;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Bytes of the configuration file.
    File(Range<usize>),
    /// An environment variable, or a line of `.env`.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
    /// Nowhere: it is missing, or the file itself could not be read.
    Nowhere,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Problem(Box<Facts>);

/// Boxed, because a problem travels as the error of small results.
#[derive(Debug, Clone)]
struct Facts {
    message: String,
    hint: Option<String>,
    place: Place,
    label: Option<String>,
    also: Option<(Place, String)>,
    position: Option<(usize, usize)>,
}

impl Problem {
    /// A problem with the value at `place`.
    pub(super) fn at(place: &Place, message: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            message: message.into(),
            hint: None,
            place: place.clone(),
            label: None,
            also: None,
            position: None,
        }))
    }

    /// What to do next.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The second half of a contradiction, and what each half is called.
    pub(super) fn against(mut self, label: &str, other: &Place, other_label: &str) -> Self {
        self.0.label = Some(label.to_owned());
        self.0.also = Some((other.clone(), other_label.to_owned()));
        self
    }

    /// At `place`, unless it is somewhere already.
    pub(super) fn or_at(&mut self, place: &Place) {
        if matches!(self.0.place, Place::Nowhere) {
            self.0.place = place.clone();
        }
    }

    /// What is wrong, in one sentence, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next.
    pub fn help(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Where the value came from.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Line in the file, from 1.
    pub fn line(&self) -> Option<usize> {
        self.0.position.map(|(line, _)| line)
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> Option<usize> {
        self.0.position.map(|(_, column)| column)
    }
}

/// The message, with the variable or flag it is about.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Place::File(_) | Place::Nowhere => f.write_str(&self.0.message)?,
            Place::Variable(name) => write!(f, "{name}: {}", self.0.message)?,
            Place::Flag(name) => write!(f, "{name}: {}", self.0.message)?,
        }
        match &self.0.also {
            Some((Place::Variable(name), _)) => write!(f, " (the other is {name})"),
            Some((Place::Flag(name), _)) => write!(f, " (the other is {name})"),
            Some((Place::File(_) | Place::Nowhere, _)) | None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Everything wrong with a configuration; at least one problem.
#[derive(Debug)]
pub struct Problems {
    source: Lines,
    list: Vec<Problem>,
}

impl Problems {
    /// Sorts by line and works out lines and columns. `text` is the redacted file, or empty.
    pub(super) fn new(name: &str, text: String, mut list: Vec<Problem>) -> Self {
        for problem in &mut list {
            let facts = &mut *problem.0;
            // In reverse, so that the position is that of the place itself where it has one.
            for place in facts.also.iter_mut().map(|(place, _)| place).chain([&mut facts.place]) {
                if let Place::File(span) = place {
                    *span = within_line(&text, span);
                    facts.position = Some(position(&text, span.start));
                }
            }
        }
        // The file in reading order, then what has no line.
        list.sort_by_key(|problem| problem.0.position.unwrap_or((usize::MAX, 0)));
        Self { source: Lines(NamedSource::new(name, text)), list }
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always at least one")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Each of them, those of the file first, in its order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// The report for people: message, line, caret and hint of each, and how many there are.
    pub fn render(&self, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(100)
            // A flag is copied: it must not be broken at its dashes.
            .with_word_splitter(WordSplitter::NoHyphenation)
            .with_context_lines(1);
        let mut report = String::new();
        for problem in &self.list {
            let shown = Shown { problem, source: &self.source };
            if handler.render_report(&mut report, &shown).is_err() {
                report.push_str(&problem.to_string());
            }
            report.push('\n');
        }
        let (count, noun) = (self.len(), if self.len() == 1 { "problem" } else { "problems" });
        report + &format!("{count} {noun} in the configuration\n")
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// The file, quoted by whole lines and only those at fault: a neighbour is no help.
#[derive(Debug)]
struct Lines(NamedSource<String>);

impl SourceCode for Lines {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Without context miette asks for a span's position, not for text to quote.
        if before == 0 && after == 0 {
            return self.0.read_span(span, 0, 0);
        }
        let text = self.0.inner();
        let end = span.offset() + span.len();
        let head = text.get(..span.offset()).ok_or(MietteError::OutOfBounds)?;
        let tail = text.get(end..).ok_or(MietteError::OutOfBounds)?;
        let start = head.rfind('\n').map_or(0, |newline| newline + 1);
        let end = end + tail.find(['\r', '\n']).unwrap_or(tail.len());
        self.0.read_span(&(start..end).into(), 0, 0)
    }
}

/// A problem as miette draws it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: &'a Lines,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.0.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.0.position.map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Facts { place, label, also, .. } = &*self.problem.0;
        let mut labels = Vec::new();
        if let Place::File(span) = place {
            labels.push(LabeledSpan::new_primary_with_span(label.clone(), span.clone()));
        }
        if let Some((Place::File(span), label)) = also {
            labels.push(LabeledSpan::new_with_span(Some(label.clone()), span.clone()));
        }
        (!labels.is_empty()).then(|| Box::new(labels.into_iter()) as Box<dyn Iterator<Item = _>>)
    }
}

/// Line and column (in characters) of a byte, from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

/// The part of a span on its first line, at whole characters: a caret cannot point at a page.
fn within_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.max(start));
    let first_line = text.get(start..end).unwrap_or_default().lines().next().unwrap_or_default();
    start..start + first_line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "listen = [\n  \"örtlich\", 5,\n]\n";

    #[test]
    fn a_problem_has_its_line_and_its_column_in_characters() {
        let five = TEXT.find('5').unwrap();
        let problems = Problems::new(
            "proxy.toml",
            TEXT.to_owned(),
            vec![
                Problem::at(&Place::Nowhere, "something is missing"),
                Problem::at(&Place::File(five..five + 1), "not a text"),
            ],
        );
        let first = problems.iter().next().unwrap();
        assert_eq!((first.line(), first.column()), (Some(2), Some(14)));
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn a_report_points_at_the_line_and_says_what_to_do() {
        let problems = Problems::new(
            "proxy.toml",
            TEXT.to_owned(),
            vec![
                Problem::at(&Place::Variable("GENESYS_REGION".to_owned()), "no such region")
                    .hint("did you mean `eu-west-1`?"),
                Problem::at(&Place::File(9..TEXT.len()), "the list is wrong").hint("write another"),
            ],
        );
        insta::assert_snapshot!(problems.render(false), @r#"
          x the list is wrong
           ,-[proxy.toml:1:10]
         1 | listen = [
           :          ^
           `----
          help: write another

          x GENESYS_REGION: no such region
          help: did you mean `eu-west-1`?

        2 problems in the configuration
        "#);
    }

    #[test]
    fn a_caret_survives_any_span() {
        for text in ["", "\n", "ö", "a\r\nb", "\u{feff}x = 1", "日本\t= 'x"] {
            for start in 0..8 {
                for end in 0..8 {
                    let place = Place::File(start..end);
                    let problem =
                        Problem::at(&place, "m").against("a", &Place::File(end..start), "b");
                    let problems = Problems::new("f", text.to_owned(), vec![problem]);
                    assert!(problems.render(true).contains("1 problem in"));
                }
            }
        }
    }
}
