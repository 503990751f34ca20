//! Plain English prose for the base model: small stories of a small town, told by rules.
//!
//! Written for this project; the words and the rules are ours.

use crate::Dice;

const PEOPLE: [&str; 24] = [
    "the baker",
    "the old sailor",
    "the young teacher",
    "the doctor",
    "the girl from the mill",
    "the clockmaker",
    "the gardener",
    "the postman",
    "a tired traveller",
    "the mayor",
    "the fisherman",
    "his sister",
    "her brother",
    "the librarian",
    "the carpenter",
    "a stranger",
    "the night watchman",
    "the shepherd",
    "the widow next door",
    "the boy with the red cap",
    "the blacksmith",
    "the painter",
    "my grandfather",
    "the ferryman",
];
const DEEDS: [&str; 30] = [
    "carried a basket of apples",
    "opened the heavy door",
    "looked at the grey sea",
    "wrote a long letter",
    "repaired the broken fence",
    "told a story about the war",
    "waited for the last train",
    "counted the coins twice",
    "lit a small lamp",
    "walked slowly towards the bridge",
    "bought bread and cheese",
    "forgot the key on the table",
    "sang an old song",
    "drew a map of the valley",
    "found a silver ring",
    "painted the window frames green",
    "listened to the rain",
    "closed the shop early",
    "planted three rows of beans",
    "asked for a cup of tea",
    "climbed the narrow stairs",
    "read the newspaper aloud",
    "followed the path along the river",
    "borrowed a ladder",
    "slept under the oak tree",
    "watched the birds leave",
    "rang the bell of the church",
    "mended the torn net",
    "gave the dog some water",
    "promised to come back soon",
];
const TIMES: [&str; 20] = [
    "In the morning",
    "Late at night",
    "On the first day of spring",
    "After the storm",
    "Before the market opened",
    "When the snow had melted",
    "During the long summer",
    "At noon",
    "One evening in October",
    "Years later",
    "The next day",
    "That same week",
    "Just before sunrise",
    "On Sunday",
    "Once",
    "For a whole month",
    "As soon as the bell rang",
    "Towards the end of winter",
    "In those days",
    "A little while afterwards",
];
const PLACES: [&str; 20] = [
    "near the harbour",
    "behind the school",
    "in the small kitchen",
    "at the edge of the forest",
    "by the well",
    "on the hill above the town",
    "in front of the station",
    "under the stone arch",
    "beside the frozen lake",
    "in the market square",
    "at the far end of the garden",
    "along the quiet street",
    "inside the empty barn",
    "between the two old houses",
    "on the wooden pier",
    "in the back of the shop",
    "near the ruined tower",
    "on the road to the city",
    "at the foot of the mountain",
    "in the shade of the wall",
];
const STATES: [&str; 24] = [
    "The air was cold and clear.",
    "Nobody spoke for a while.",
    "It had been a good year for the farmers.",
    "The river was higher than usual.",
    "Everyone in the town knew the story.",
    "The streets were empty and wet.",
    "There was a smell of smoke and fresh bread.",
    "The clock on the tower had stopped.",
    "The children were already asleep.",
    "A light wind moved the curtains.",
    "The harvest would begin soon.",
    "The moon stood over the roofs.",
    "Somewhere a door fell shut.",
    "The water was as smooth as glass.",
    "It was too dark to see the road.",
    "The ships had not come in.",
    "The fire had burned down to ashes.",
    "Most of the shops were closed.",
    "The hills were covered with mist.",
    "Nothing seemed to have changed.",
    "The days were getting shorter.",
    "The roof still leaked in two places.",
    "People said it would rain again.",
    "The lamp on the corner was broken.",
];
const WORDS_SAID: [&str; 20] = [
    "I have never seen anything like it",
    "we should leave before it gets dark",
    "you may keep it if you want",
    "there is enough for all of us",
    "that was a long time ago",
    "nobody asked me",
    "the boat is ready",
    "it belongs to my mother",
    "I will think about it",
    "the road is closed",
    "they were here yesterday",
    "we must be patient",
    "give me your hand",
    "the soup is still warm",
    "I remember every word",
    "he will not come today",
    "it costs more than that",
    "the others are waiting",
    "please shut the window",
    "this is the best one we have",
];
const JOINS: [&str; 8] =
    [", and then", ", but", ", because", ", while", ", so that", ", although", ", until", ", and"];
const LINKS: [&str; 8] = ["Then", "But", "So", "Even so,", "Meanwhile", "In the end", "Of course", "Again"];

/// About so many bytes of prose, always the same for the same seed.
pub(crate) fn text(bytes: usize, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let mut text = String::with_capacity(bytes + 400);
    while text.len() < bytes {
        let sentences = 3 + dice.below(5);
        let paragraph: Vec<String> = (0..sentences).map(|_| sentence(&mut dice)).collect();
        text.push_str(&paragraph.join(" "));
        text.push_str("\n\n");
    }
    text
}

fn sentence(dice: &mut Dice) -> String {
    let (who, other) = (dice.of(&PEOPLE), dice.of(&PEOPLE));
    let (deed, next) = (dice.of(&DEEDS), dice.of(&DEEDS));
    let (place, time) = (dice.of(&PLACES), dice.of(&TIMES));
    match dice.below(8) {
        0 => format!("{time} {who} {deed}{} {other} {next}.", dice.of(&JOINS)),
        1 => format!("{} {deed} {place}.", capital(who)),
        2 => dice.of(&STATES).to_owned(),
        3 => format!("\"{},\" said {who}.", capital(dice.of(&WORDS_SAID))),
        4 => format!("{} {who} {deed}.", dice.of(&LINKS)),
        5 => format!("{time}, {place}, {who} {deed}."),
        6 => format!("{} and {other} met {place}, and {who} {deed}.", capital(who)),
        _ => format!(
            "\"{},\" {who} answered. \"{}.\"",
            capital(dice.of(&WORDS_SAID)),
            capital(dice.of(&WORDS_SAID))
        ),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
