#include "engine/program.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include "engine/error.h"

namespace qstep {

namespace {

int complain(const char* name, const char* sentence, int status) {
    std::fflush(stdout);
    fmt::print(stderr, "{}: {}\n", name, sentence);
    return status;
}

}  // namespace

int program_main(const char* name, int argc, char** argv,
                 const std::function<int(const std::vector<std::string>&)>& body) {
    std::signal(SIGXFSZ, SIG_IGN);
    try {
        const int status = body(std::vector<std::string>(argv + 1, argv + argc));
        if (status == 0 && (std::fflush(stdout) != 0 || std::ferror(stdout) != 0))
            fail_run("cannot write to standard output");
        return status;
    } catch (const Error& error) {
        return complain(name, error.what(), error.kind() == ErrorKind::usage ? 2 : 1);
    } catch (const std::bad_alloc&) {
        return complain(name, "the machine has no memory left", 1);
    } catch (const std::system_error& error) {
        const bool no_thread = error.code() == std::errc::resource_unavailable_try_again;
        return complain(name, no_thread ? "the machine has no room for another thread" : error.what(), 1);
    } catch (const std::exception& error) {
        return complain(name, error.what(), 1);
    }
}

}  // namespace qstep
