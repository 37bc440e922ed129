# A playground: PostgreSQL with clearout, and the sandbox, which stands in for
# the service on loopback.  See compose.yaml.
#
#   docker compose up --build --detach
#   docker compose exec db psql -U postgres -d postgres

ARG POSTGRESQL=17

FROM postgres:${POSTGRESQL}-trixie AS build
ARG POSTGRESQL
RUN apt-get update \
	&& apt-get install -y --no-install-recommends gcc libc6-dev make postgresql-server-dev-${POSTGRESQL} \
		libcurl4-openssl-dev libjansson-dev libidn2-dev libmicrohttpd-dev
COPY . /clearout
WORKDIR /clearout
RUN make -s -j2 with_llvm=no && make -s install with_llvm=no DESTDIR=/stage \
	&& make -s -C test/sandbox OUT=/build && install -D /build/clearout-sandbox /stage/usr/local/bin/clearout-sandbox

FROM postgres:${POSTGRESQL}-trixie
RUN apt-get update \
	&& apt-get install -y --no-install-recommends ca-certificates libcurl4t64 libjansson4 libidn2-0 libmicrohttpd12t64 \
	&& rm -rf /var/lib/apt/lists/*
COPY --from=build /stage /
COPY docker/clearout.sql /docker-entrypoint-initdb.d/
# The sandbox's token, which is no secret.  It is part of the image, since a
# container that is made anew has its old data, and so is not initialised again.
RUN umask 077 && echo "sandbox0sandbox0sandbox0sandbox0:not0a0real0token0not0a0real0token0not0a0real0token0not0a0real000" \
	>/etc/clearout.token && chown postgres: /etc/clearout.token
CMD ["postgres", "-c", "shared_preload_libraries=clearout", \
	"-c", "clearout.base_url=http://127.0.0.1:4010/v2", \
	"-c", "clearout.api_token_file=/etc/clearout.token"]
