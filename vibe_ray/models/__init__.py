"""The networks of the paper: temporal encoder, regressor, generator, motion discriminator."""
