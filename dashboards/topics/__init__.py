"""The topics of the live view: each folds its part of the feed and says what a view of it shows. Pure."""
