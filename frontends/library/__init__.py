"""Layers, cells and activations, written in the language itself; `frontends.language.libraries` finds them."""
