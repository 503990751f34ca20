//! The example data set: short support tickets, and the team, urgency and next step for each.
//!
//! Written for this project; no customer ever wrote them.

use crate::Dice;

/// What people write, and `team | urgency | next step`.
const CASES: [(&str, &str, &str); 8] = [
    ("billing", "high", "refund the charge"),
    ("billing", "low", "send the invoice"),
    ("access", "high", "reset the password"),
    ("access", "low", "add the user"),
    ("mobile", "high", "collect the crash log"),
    ("mobile", "low", "note the wish"),
    ("delivery", "high", "trace the parcel"),
    ("delivery", "low", "change the address"),
];

const TEXTS: [[&str; 7]; 8] = [
    [
        "I was charged twice for #",
        "My card was billed twice in #",
        "You took the fee for # two times",
        "Double payment in # on my card",
        "Why did I pay twice for #?",
        "Please fix the double charge of #",
        "Two payments left my bank for #",
    ],
    [
        "I need the invoice for #",
        "Can I get a receipt for #?",
        "Where is my bill for #?",
        "Please mail the invoice of #",
        "Our office wants the # receipt",
        "A copy of the # bill, please",
        "The invoice for # is not here",
    ],
    [
        "I cannot log in since #",
        "My password fails since #",
        "Locked out of my account since #",
        "The login page refuses me since #",
        "No access to my account since #",
        "Sign-in is broken since #",
        "It says wrong password since #",
    ],
    [
        "Please add a colleague from #",
        "A new user starts in #",
        "Can you invite one more user in #?",
        "We need a seat for # please",
        "Add my assistant from # on",
        "One more account for #, please",
        "Give my partner access from #",
    ],
    [
        "The app crashes since #",
        "Your app closes by itself since #",
        "The phone app dies at start since #",
        "App stops when I open a map since #",
        "Crash on every photo since #",
        "The tablet app froze in #",
        "It crashed ten times in #",
    ],
    [
        "A dark theme by # would be nice",
        "Will the app get widgets in #?",
        "Bigger fonts in the app by #?",
        "I would like a map view by #",
        "Can the app have a clock by #?",
        "Hoping for a tablet app by #",
        "Offline mode in # would be great",
    ],
    [
        "My parcel from # is lost",
        "The box sent in # never came",
        "No delivery since #",
        "Where is my order from #?",
        "Tracking has stood still since #",
        "The courier lost my order of #",
        "Nothing arrived since #",
    ],
    [
        "I move house in #",
        "New address from # on",
        "Please ship to my office from #",
        "Send it to my sister in #",
        "My street has a new name since #",
        "Change where you deliver from #",
        "We have a new door from # on",
    ],
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// All records as JSON lines, each shorter than 96 bytes of prompt and completion together.
pub(crate) fn records() -> Vec<String> {
    let mut dice = Dice::new(7);
    let mut lines = Vec::new();
    for (texts, (team, urgency, step)) in TEXTS.iter().zip(CASES) {
        for text in texts {
            let first = dice.below(MONTHS.len());
            for turn in 0..5 {
                let month = MONTHS[(first + turn * 5) % MONTHS.len()];
                let prompt = format!("Ticket: {}\n", text.replace('#', month));
                let completion = format!("{team} | {urgency} | {step}");
                let at = dice.below(lines.len() + 1);
                lines.insert(at, serde_json::json!({"prompt": prompt, "completion": completion}).to_string());
            }
        }
    }
    lines
}
