-- Run once by the image of PostgreSQL, as its superuser, when it makes its folder of data. The gateway's user owns its
-- database and may nothing else: row-level security, which keeps tenants apart, does not bind a superuser.
\set password `cat /run/secrets/gateway_password`
CREATE ROLE interlock LOGIN PASSWORD :'password';
CREATE DATABASE interlock OWNER interlock;
