"""The address at which a phone in the same network opens the page, as text and as a QR code."""

import io
import ipaddress
import socket

import segno

ANY_HOST = "0.0.0.0"


def describe_address_for_phones(host: str, port: int, with_code: bool) -> str:
    """Return how a phone opens the page, if the page is served to the network.

    Args:
        host: The host on which the page is served.
        port: The port.
        with_code: Whether to add a QR code, for a terminal.

    Returns:
        A line, and the code; nothing if a phone cannot open the page.
    """
    address = network_address() if host == ANY_HOST else None
    if address is None:
        return ""
    url = f"http://{address}:{port}/"
    code = io.StringIO()
    if with_code:
        segno.make(url, micro=False).terminal(code, compact=True)
    return f"On a phone in the same network, open {url}\n{code.getvalue()}"


def network_address() -> str | None:
    """Return the IPv4 address of this machine in its network; None if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; it selects the interface for an address, here of a reserved range.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if ipaddress.ip_address(address).is_loopback else address
