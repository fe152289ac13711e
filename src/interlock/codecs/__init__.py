"""A model's turn in each runtime's own form, and back; and models that say what a script has.

Not adapters, and nothing of governance: what a model says is translated here and not looked at. Law: `Turn` is all that
goes between runtimes; ids stay as they are.
"""
