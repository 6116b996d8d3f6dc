"""Compression: which layers matter, how few bits each can do with, and what comes out in bytes and in time.

All of it works on ONNX graphs and NumPy arrays: what an artifact holds, whatever model it came from.
"""
