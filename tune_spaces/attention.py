"""Paper, Table 3: how the motion discriminator pools its frames.

Concatenation of mean and maximum, or attention with 2 or 3 layers of 512 or 1024 units. A key that
is a tuple of names moves its settings together, here because layers mean nothing to concatenation.
The attention is as wide as the discriminator's hidden state.
"""

SPACE = {
    (
        "discriminator.pool",
        "discriminator.attention_layers",
        "discriminator.hidden_dim",
    ): [
        ("concat", 2, 1024),
        ("attention", 2, 512),
        ("attention", 2, 1024),
        ("attention", 3, 512),
        ("attention", 3, 1024),
    ],
}
