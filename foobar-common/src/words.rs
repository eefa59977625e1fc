//! Lists of numbered words that both sides of the kernel line and every output share.

/// Declares an enum of numbered words that both sides of the kernel line and every output share.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $( $variant:ident = $number:literal, $label:literal, $text:literal; )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name {
            $( #[doc = $text] $variant = $number, )+
        }

        impl $name {
            /// Every one, in numeric order, without gaps from zero.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];
            /// How many there are.
            #[expect(clippy::cast_possible_truncation, reason = "a list written by hand")]
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The word for it in metrics, JSON and on the terminal.
            pub const fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )+ }
            }

            /// A sentence for people.
            pub const fn describe(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }

            /// The one with this number, if there is one.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $( $number => Some(Self::$variant), )+ _ => None }
            }

            /// Its number, as records and maps hold it.
            #[inline(always)]
            pub const fn number(self) -> u32 {
                self as u32
            }
        }
    };
}

pub(crate) use words;
