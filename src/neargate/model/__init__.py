"""model: frozen records and pure rules. No I/O, no clock, no randomness: time and ids are arguments."""
