//! The rules of the protocol that can be left out one at a time, and the promise that goes with each.

/// What admission promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// Open turns never exceed the cap.
    Cap,
    /// Every open turn stands in `pend` or `act` of the epoch that is in force.
    Covered,
    /// A number that leaves `pend` has a row.
    Accounted,
    /// No number is given twice.
    NumberOnce,
    /// No turn with a number that its owner had when an earlier turn of his was opened.
    OneTurn,
    /// Nobody who polls is passed over by a higher number.
    Order,
    /// From every state, everybody who polls can still be served without another fault.
    Served,
}

impl Promise {
    pub const ALL: [Self; 7] = [
        Self::Cap,
        Self::Covered,
        Self::Accounted,
        Self::NumberOnce,
        Self::OneTurn,
        Self::Order,
        Self::Served,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Cap => "open turns never exceed the cap",
            Self::Covered => "open turns stand in pend or act",
            Self::Accounted => "a number leaves pend with a row",
            Self::NumberOnce => "no number is given twice",
            Self::OneTurn => "no second turn for a finished token",
            Self::Order => "no live lower number is passed over",
            Self::Served => "everybody can still be served",
        }
    }
}

/// A rule of admission or of the rebuild. `EnterInTime` is one that the code does not have: what that costs is seen without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An instance speaks only to the server under whose lineage its epoch was made.
    Lineage,
    /// T1: a batch is granted only in the epoch in which it was taken.
    Fence,
    /// A rebuild puts the open turns into `act`.
    FillTurns,
    /// A rebuild begins by taking `gen` away.
    BeginShuts,
    /// Nobody is admitted before everybody who polls has been back.
    Pause,
    /// The pause is counted from the publish, not from the bump.
    PauseFromPublish,
    /// A poll that was refused in the pause begins it anew.
    Rearm,
    /// The pause outlasts every instance's ignorance of the new epoch.
    PauseOutlastsIgnorance,
    /// `gone` is applied only where the stored number is equal.
    GoneByNumber,
    /// `leave` is applied only where the stored number is equal.
    LeaveByNumber,
    /// SQL closes a turn before Redis hears of it.
    SqlFirst,
    /// A number is dead when another of its owner was admitted after it had been handed out.
    Issued,
    /// A payment ends the turn.
    PayEnds,
    /// T4: every number of a batch has a row afterwards.
    Void,
    /// SQL is asked before a number is put into the line.
    SqlBeforeEnter,
    /// Who is in line with a number of his that is over gets the one that is not.
    GhostsGiveWay,
    /// A number that ends between SQL's answer and `enter` is not entered.
    EnterInTime,
}
