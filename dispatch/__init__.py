"""Who does what: people, access, and what they may see."""
