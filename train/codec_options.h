// Options that belong to some codecs only: part of the option table, and which of them go with which codec.
#pragma once

#include <string>
#include <vector>

#include "train/options.h"

namespace qstep {

std::vector<OptionSpec> codec_options();

/// Throws a usage error when the option of this name says nothing about `codec`. Any option's name will do.
void check_goes_with(const std::string& option, const CodecSettings& codec);

}  // namespace qstep
