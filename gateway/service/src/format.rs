//! The text of each supervisor's files, both ways.

use crate::{Definition, Kind, Parsed, Unfit, launchd, systemd, windows};

impl Kind {
    /// The text of the file that the supervisor reads.
    ///
    /// # Errors
    /// Which part of the definition its format cannot hold.
    pub fn render(self, definition: &Definition) -> Result<String, Unfit> {
        definition.check()?;
        match self {
            Self::SystemdUser => systemd::render(definition, "default.target"),
            Self::SystemdSystem => systemd::render(definition, "multi-user.target"),
            Self::Launchd => Ok(launchd::render(definition)),
            Self::Windows => windows::render(definition),
        }
    }

    /// Reads such a text back, whoever wrote it; what is not understood is left out.
    pub fn parse(self, text: &str) -> Parsed {
        match self {
            Self::SystemdUser | Self::SystemdSystem => systemd::parse(text),
            Self::Launchd => launchd::parse(text),
            Self::Windows => windows::parse(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::definition::tests::definition;

    const KINDS: [Kind; 4] = [Kind::SystemdUser, Kind::SystemdSystem, Kind::Launchd, Kind::Windows];

    fn same(kind: Kind, definition: &Definition) {
        let parsed = kind.parse(&kind.render(definition).unwrap());
        assert_eq!(parsed.command, definition.command, "{kind:?}");
        let variables = definition.variables().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut expected: Vec<_> = variables.collect();
        if kind == Kind::Launchd {
            expected.push(("OPENCLAW_LAUNCHD_LABEL".to_owned(), "bot.molt.rescue".to_owned()));
        }
        assert_eq!(parsed.environment, expected, "{kind:?}");
        assert_eq!(parsed.working_dir.as_deref(), Some(definition.working_dir.as_str()), "{kind:?}");
        assert_eq!(parsed.description.as_deref(), Some(definition.description().as_str()), "{kind:?}");
    }

    #[test]
    fn every_format_is_read_back_as_it_was_written() {
        for kind in KINDS {
            same(kind, &definition());
        }
    }

    proptest! {
        /// Whatever a value holds, it neither ends its line nor becomes another value.
        #[test]
        fn what_is_written_is_read_back(
            program in "/[^\\p{C}$\"]{0,20}", argument in "[^\\p{C}\"]{0,20}", value in "[^\\p{C}\"]{1,30}", dir in "/[^\\p{C}\"]{0,20}x",
        ) {
            let mut definition = definition();
            definition.command[0] = program;
            definition.command.push(argument);
            definition.environment[5].1 = value;
            definition.working_dir = dir;
            for kind in KINDS {
                same(kind, &definition);
            }
        }

        /// The same with double quotes, which cmd has no way to hold.
        #[test]
        fn quotes_are_read_back_where_the_format_has_them(argument in "[\"'\\\\$% ;#ax]{0,12}", value in "[\"'\\\\$% ;#ax]{1,12}") {
            let mut definition = definition();
            definition.command.push(argument);
            definition.environment[5].1 = value;
            for kind in [Kind::SystemdUser, Kind::SystemdSystem, Kind::Launchd] {
                same(kind, &definition);
            }
        }

        /// No text of anybody makes the readers fail.
        #[test]
        fn any_text_is_read(text in "\\PC{0,200}|([<>&\"'/=\\[\\]\\\\%\n a-zA-Z]{0,200})") {
            for kind in KINDS {
                drop(kind.parse(&text));
            }
        }
    }

    #[test]
    fn what_a_format_cannot_hold_is_refused() {
        let mut definition = definition();
        definition.environment[5].1 = "a\"b".to_owned();
        assert!(Kind::Windows.render(&definition).unwrap_err().to_string().contains("OPENCLAW_GATEWAY_TOKEN"));
        definition.working_dir = "/home/u\\".to_owned();
        assert!(Kind::SystemdUser.render(&definition).is_err());
        definition.working_dir = "relative".to_owned();
        assert!(Kind::SystemdUser.render(&definition).is_err());
    }
}
