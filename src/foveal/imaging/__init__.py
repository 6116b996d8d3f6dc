"""From a file, bytes, array or picture to the views that an assessor looks at."""
