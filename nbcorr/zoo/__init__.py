"""Models and labelled data to start with, with their licences."""
