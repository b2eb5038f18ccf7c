"""All small systems by name."""

from zoo.forward import FORWARD
from zoo.images import IMAGES
from zoo.recurrent import RECURRENT

ZOO = {build.__name__: build for build in (*FORWARD, *IMAGES, *RECURRENT)}
TIMED = {build.__name__: build for build in RECURRENT}
