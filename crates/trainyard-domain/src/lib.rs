//! The words and rules of Trainyard.
