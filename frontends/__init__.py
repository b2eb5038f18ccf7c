"""Ways to write a model and to use one: the language, the builder, the trainer, the command line."""
