"""The service: scores and explanations over HTTP, and a page for people. Needs the extra ``serve``."""
