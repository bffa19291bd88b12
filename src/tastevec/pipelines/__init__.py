"""One file a stage: prepare, train, evaluate and batch inference, behind the command line and `import tastevec`."""
