"""Showing: gradients, explanations, stages and graphs as text and pictures."""
