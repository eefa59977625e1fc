//! How much is looked at before nothing is said.

/// What is spent on a ruleset, besides reading it.
const WORK: u64 = 1_000_000_000;
/// More than this is spent on no single question.
const QUESTION_MAX: u64 = 10_000_000;

/// Work that is left to do, in steps of about equal cost. Counting it, as against reading a clock, makes what is
/// found the same on every machine.
#[derive(Debug)]
pub(super) struct Work {
    left: u64,
}

/// The question is worth no more work.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooMuch;

impl Default for Work {
    fn default() -> Self {
        Self::of(WORK)
    }
}

impl Work {
    pub(super) fn of(steps: u64) -> Self {
        Self { left: steps }
    }

    /// What was spent of the work for a ruleset.
    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        WORK - self.left
    }

    /// Takes off these steps.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), TooMuch> {
        let left = self.left.checked_sub(steps as u64);
        self.left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(TooMuch)
    }

    /// Lets one of the questions that remain be answered with a part of this: the fair one and as much again
    /// fifteen times, since most need little.
    pub(super) fn share<T>(&mut self, n_questions: usize, answer: impl FnOnce(&mut Self) -> T) -> T {
        let part =
            (self.left / n_questions.max(1) as u64).saturating_mul(16).min(self.left).min(QUESTION_MAX);
        let mut work = Self::of(part);
        let answer = answer(&mut work);
        self.left -= part - work.left;
        answer
    }
}
