"""The image half's first rooms: reading videos, finding people in them, following each of them."""
