-- Run once, when the playground's server is initialised.
CREATE EXTENSION clearout;
