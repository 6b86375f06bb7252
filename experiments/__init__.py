"""Experiment runner."""
