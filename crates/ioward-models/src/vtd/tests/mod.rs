mod bench;
mod caching;
mod legacy;
mod queue;
mod registers;
