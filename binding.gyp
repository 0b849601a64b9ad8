{
  "targets": [
    {
      "target_name": "marketplace",
      "conditions": [
        ["OS!='linux'", {"type": "none"}],
        ["OS=='linux'", {
          "sources": [
            "native/engine/acceptor.cc",
            "native/engine/address.cc",
            "native/engine/admission.cc",
            "native/engine/adopt.cc",
            "native/engine/block_pool.cc",
            "native/engine/choose.cc",
            "native/engine/connection_info.cc",
            "native/engine/engine.cc",
            "native/engine/engine_accept.cc",
            "native/engine/engine_adopt.cc",
            "native/engine/engine_datagrams.cc",
            "native/engine/engine_frames.cc",
            "native/engine/engine_input.cc",
            "native/engine/engine_output.cc",
            "native/engine/engine_tls.cc",
            "native/engine/epoll.cc",
            "native/engine/framer.cc",
            "native/engine/idle.cc",
            "native/engine/inlet.cc",
            "native/engine/openssl.cc",
            "native/engine/output.cc",
            "native/engine/prefix.cc",
            "native/engine/prefix_table.cc",
            "native/engine/slab.cc",
            "native/engine/socket.cc",
            "native/engine/socket_file.cc",
            "native/engine/tls.cc",
            "native/engine/udp_socket.cc",
            "native/engine/unrouted.cc",
            "native/engine/uring.cc",
            "native/engine/uring_buffers.cc",
            "native/engine/uring_open.cc",
            "native/engine/uring_report.cc",
            "native/engine/uring_ring.cc",
            "native/binding/addon.cc",
            "native/binding/heap.cc",
            "native/binding/loop.cc",
            "native/binding/options.cc",
            "native/binding/shared.cc",
            "native/binding/slab_memory.cc",
            "native/binding/sleep_time.cc",
            "native/binding/spent.cc",
            "native/binding/tls.cc",
            "native/binding/turn.cc"
          ],
          "defines": ["NAPI_VERSION=9"],
          "cflags_cc": [
            "-std=c++20",
            "-fno-exceptions",
            "-fvisibility=hidden",
            "-fvisibility-inlines-hidden",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wshadow",
            "-Wconversion",
            "-Wsign-conversion"
          ],
          "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-O3"],
          "configurations": {
            "Release": {"cflags_cc": ["-O2"], "defines": ["NDEBUG"]},
            "Debug": {"cflags_cc": ["-O0", "-g"]}
          },
          "ldflags": ["-Wl,-Bsymbolic", "-Wl,--exclude-libs,ALL"]
        }]
      ]
    }
  ]
}
