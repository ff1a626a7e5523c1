# The binary alone on a small base with glibc. Its application shares /data with it:
#   docker run -v app-data:/data -p 8160:8160 marmot run --peers /dns/node-1/tcp/8160
# with the cluster key as a mounted file (--cluster-key) or in MARMOT_CLUSTER_KEY.

FROM node:22-bookworm-slim AS build
WORKDIR /source
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY bunfig.toml tsconfig.json ./
COPY scripts ./scripts
COPY src ./src
COPY assets ./assets
ARG MARMOT_COMMIT=unknown
RUN MARMOT_COMMIT="$MARMOT_COMMIT" npm run build

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin marmot && install -d -o marmot -g marmot -m 0700 /data
COPY --from=build /source/dist/marmot /usr/local/bin/marmot
USER marmot
WORKDIR /data
VOLUME /data
ENV MARMOT_DB=/data/app.db
# Peers. The admin port stays on the container's loopback unless --admin and --admin-token say otherwise.
EXPOSE 8160
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["marmot", "status", "--alive"]
ENTRYPOINT ["marmot"]
CMD ["run"]
