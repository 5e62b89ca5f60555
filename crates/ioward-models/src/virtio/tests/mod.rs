//! The judge is judged: each thing that it must see, done by hand.
