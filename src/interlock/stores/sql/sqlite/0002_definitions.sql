-- What tools and policies said, by digest, so that a recorded run can be read without the program that made it.
CREATE TABLE definitions (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    digest TEXT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (tenant, name, digest)
);
