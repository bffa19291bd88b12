"""The front door: from files and tables of any kind to interactions, items and tags that follow one set of rules."""
