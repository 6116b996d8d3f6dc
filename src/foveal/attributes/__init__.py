"""Visual attributes of an image, in numbers and in words, by pure functions; NumPy and Pillow only.

    from foveal.attributes import measure
    measure(pixels)["sharpness"].phrase  # "soft"

Nothing here says how good an image is: sharpness, noise or brightness are measured as they are. Fine
attributes are read at native resolution on nine tiles, the others on the image reduced to 512 pixels.
"""

from foveal.attributes.measure import measure
from foveal.attributes.reading import Attribute, Reading
from foveal.attributes.table import ATTRIBUTES

__all__ = ["ATTRIBUTES", "Attribute", "Reading", "measure"]
