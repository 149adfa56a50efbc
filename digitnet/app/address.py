"""The address at which a phone in the same network opens the page, as text and as a QR code."""

import ipaddress
import socket
import sys

import segno

ANY_HOST = "0.0.0.0"


def print_address_for_phones(host: str, port: int, path: str = "/") -> None:
    """Print the address, if the page is served to the network; and a QR code, if the output is a terminal.

    Args:
        host: The host on which the page is served.
        port: The port.
        path: The path of the page.
    """
    if host != ANY_HOST:
        return
    address = network_address()
    if address is None:
        return
    url = f"http://{address}:{port}{path}"
    print(f"On a phone in the same network, open {url}", flush=True)
    if sys.stdout.isatty():
        segno.make(url, micro=False).terminal(compact=True)


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
