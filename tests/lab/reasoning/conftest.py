"""Tiny vision-language models for all tests of reasoning."""

from tiny_vlms import small_vlm, vlm, vlm_folder, without_num2words

__all__ = ["small_vlm", "vlm", "vlm_folder", "without_num2words"]
