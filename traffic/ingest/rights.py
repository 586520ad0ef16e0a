"""For which places a sender may report. Pure."""

from traffic.errors import Reason
from traffic.ingest.catalogue import Catalogue, Device
from traffic.ingest.checks import Fault
from traffic.ingest.places import Stretch


def must_own(stretch: Stretch, device: Device, catalogue: Catalogue) -> None:
    """Raise Fault unless the whole stretch belongs to the device's unit and those under it."""
    if stretch.units - catalogue.units_of(device):
        raise Fault("road", Reason.NOT_THIS_DEVICE, "the stretch, or a part of it, belongs to no unit of this device's")
